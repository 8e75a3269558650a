// Keeps the page of a build that is at work up to date. Without it the page reloads itself.
"use strict";

const build = document.getElementById("build");
const log = document.getElementById("log");
const start = build.dataset.position;
const source = new EventSource(`${build.dataset.events}?after=${start}`);

function atEnd() {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 8;
}

source.addEventListener("log", (event) => {
  const line = JSON.parse(event.data);
  const follow = atEnd();
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date(line.time * 1000).toISOString().slice(11, 19);
  item.append(time, ` ${line.text}`);
  log.append(item);
  if (follow) {
    log.scrollTop = log.scrollHeight;
  }
});

source.addEventListener("build", (event) => {
  const value = JSON.parse(event.data);
  const state = document.getElementById("state");
  if (state.textContent !== value.state) {
    state.textContent = value.state;
    state.className = `state ${value.state}`;
  }
  const progress = document.getElementById("progress");
  progress.hidden = value.progress === null;
  if (value.progress !== null) {
    const { stage, done, total, note } = value.progress;
    document.getElementById("stage").textContent = `${stage} ${done}/${total} ${note}`;
    const bar = document.getElementById("bar");
    bar.max = Math.max(total, 1);
    bar.value = done;
  }
  const error = document.getElementById("error");
  error.hidden = value.error === null;
  error.textContent = value.error ?? "";
});

source.addEventListener("end", () => {
  source.close();
  window.location.reload(); // the finished page lists what was built
});
