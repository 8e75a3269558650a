// Keeps the list of builds up to date while something is at work. Without it the page reloads itself.
"use strict";

const SECONDS = 10;

async function refresh() {
  const list = document.getElementById("list");
  // Whoever reads or steps through the list with the keyboard is not disturbed.
  if (document.hidden || list.contains(document.activeElement)) {
    return;
  }
  const answer = await fetch(window.location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) {
    return;
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("list");
  if (fresh !== null && fresh.innerHTML !== list.innerHTML) {
    list.replaceWith(document.adoptNode(fresh));
  }
}

window.setInterval(() => {
  refresh().catch(() => {}); // the service is away for a moment
}, SECONDS * 1000);
