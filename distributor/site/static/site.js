// What the pages do beyond being read. Every page is whole without it, but for "Compare".
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);

  // Commands can be copied where the browser allows it.
  for (const button of document.querySelectorAll("button.copy")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.previousElementSibling.textContent.trim());
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }

  // Versions, near enough to PEP 440 for a search: numbers by value, a pre-release before its release.
  const ranks = { dev: -4, a: -3, b: -2, rc: -1, post: 1 };
  const parts = (text) => {
    const [, epoch, rest] = /^(?:(\d+)!)?(.*)$/.exec(text.toLowerCase().replace(/^v/, ""));
    const found = [[Number(epoch || 0), 0]];
    for (const [, number, word] of rest.replace(/\+.*/, "").matchAll(/(\d+)|([a-z]+)/g)) {
      if (word !== undefined) found.push([-1, ranks[word] ?? -1]);
      else found.push([Number(number), 0]);
    }
    return found;
  };
  const compareVersions = (one, two) => {
    const [a, b] = [parts(one), parts(two)];
    for (let i = 0; i < Math.max(a.length, b.length); i += 1) {
      const [x, y] = [a[i] ?? [0, 0], b[i] ?? [0, 0]];
      const left = x[0] === -1 ? (x[1] > 0 ? 0.5 : -0.5) + x[1] / 10 : x[0];
      const right = y[0] === -1 ? (y[1] > 0 ? 0.5 : -0.5) + y[1] / 10 : y[0];
      if (left !== right) return left < right ? -1 : 1;
    }
    return 0;
  };
  const holds = {
    "<": (n) => n < 0, "<=": (n) => n <= 0, "==": (n) => n === 0,
    "!=": (n) => n !== 0, ">=": (n) => n >= 0, ">": (n) => n > 0,
  };
  const canonical = (name) => name.toLowerCase().replace(/[-_.]+/g, "-");

  const search = byId("search");
  if (search) {
    const rows = [...byId("packages").tBodies[0].rows];
    const show = () => {
      const text = search.value.trim();
      const query = /^([A-Za-z0-9._-]+)\s*((?:(?:<=|>=|==|!=|<|>)\s*[^,\s]+\s*,?\s*)+)$/.exec(text);
      const bounds = query ? [...query[2].matchAll(/(<=|>=|==|!=|<|>)\s*([^,\s]+)/g)] : [];
      let packages = 0;
      let versions = 0;
      for (const row of rows) {
        const name = row.dataset.name;
        let shown = query ? name === canonical(query[1]) : name.includes(canonical(text));
        let hits = 0;
        for (const version of row.querySelectorAll("span.ver")) {
          const hit = shown && query !== null &&
            bounds.every(([, sign, bound]) => holds[sign](compareVersions(version.textContent, bound)));
          version.classList.toggle("hit", hit);
          hits += hit ? 1 : 0;
        }
        if (query && !hits) shown = false;
        row.hidden = !shown;
        packages += shown ? 1 : 0;
        versions += hits;
      }
      byId("hits").hidden = versions === 0;
      byId("found").textContent = !text ? "" : query
        ? `${versions} version${versions === 1 ? "" : "s"} of ${canonical(query[1])} in all releases`
        : `${packages} package${packages === 1 ? "" : "s"}`;
      history.replaceState(null, "", text ? `#${encodeURIComponent(text)}` : location.pathname);
    };
    search.closest(".search").hidden = false;
    search.value = decodeURIComponent(location.hash.slice(1));
    search.addEventListener("input", show);
    if (search.value) show();
  }

  const compare = byId("compare");
  if (compare) {
    const [from, to] = [byId("from"), byId("to")];
    const loaded = new Map();
    const waiting = new Map();
    globalThis.venvoyRelease = (number, data) => { loaded.set(number, data); waiting.get(number)?.(); };
    const load = (number) => loaded.has(number) ? Promise.resolve() : new Promise((resolve, reject) => {
      waiting.set(number, resolve);
      const script = document.createElement("script");
      script.src = `data/${number}.js`;
      script.onerror = () => reject(new Error("The data of a release could not be loaded."));
      document.head.append(script);
    });
    const node = (tag, content, className) => {
      const made = document.createElement(tag);
      if (className) made.className = className;
      made.append(...[content].flat());
      return made;
    };
    const size = (count) => {
      let value = Math.abs(count);
      for (const unit of ["B", "kB", "MB"]) {
        if (value < 1000) return `${value.toFixed(unit === "B" ? 0 : 1)} ${unit}`;
        value /= 1000;
      }
      return `${value.toFixed(2)} GB`;
    };
    const growth = (count) => node("span", `${count >= 0 ? "+" : "\u2212"}${size(count)}`, `delta ${count > 0 ? "up" : count < 0 ? "down" : ""}`);
    const short = (target) => {
      const found = /^(.+?)-linux_(.+)-(glibc|musl)(.+)$/.exec(target);
      return found ? `${found[1]} · ${found[2]} · ${found[3]} ${found[4]}` : target;
    };
    const kinds = { Download: "num", Change: "num", Target: "target" };
    const table = (heads, rows, label) => {
      const region = node("div", [], "scroll");
      region.tabIndex = 0;
      region.setAttribute("role", "region");
      region.setAttribute("aria-label", label);
      const head = node("tr", heads.map((text) => {
        const cell = node("th", text, kinds[text] === "num" ? "num" : "");
        cell.scope = "col";
        return cell;
      }));
      const body = rows.map((cells) => node("tr", cells.map((cell, index) => {
        const made = node(index ? "td" : "th", cell, kinds[heads[index]] ?? "");
        if (!index) made.scope = "row";
        return made;
      })));
      region.append(node("table", [node("thead", head), node("tbody", body)], "list"));
      return region;
    };
    const read = (data) => new Map(data.artifacts.map(([service, target, version, length, id, packages]) => [
      `${service}\n${target}`,
      { service, target, version, length, id, packages: new Map(packages.map((index) => data.packages[index])) },
    ]));
    const badge = (text) => node("span", text, `badge ${text}`);
    const ver = (text) => node("span", text, "ver");
    const draw = () => {
      const [old, fresh] = [read(loaded.get(Number(from.value))), read(loaded.get(Number(to.value)))];
      const services = [];
      const steps = new Map();
      let unchanged = 0;
      for (const key of [...new Set([...old.keys(), ...fresh.keys()])].sort()) {
        const [a, b] = [old.get(key), fresh.get(key)];
        if (a && b && a.id === b.id) { unchanged += 1; continue; }
        const { service, target } = a ?? b;
        const history = node("a", service);
        history.href = `services/${service}.html`;
        services.push([
          history, short(target), a ? ver(a.version) : badge("new"), b ? ver(b.version) : badge("gone"),
          b ? size(b.length) : "", growth((b?.length ?? 0) - (a?.length ?? 0)),
        ]);
        if (!a || !b) continue;
        for (const name of new Set([...a.packages.keys(), ...b.packages.keys()])) {
          const [was, is] = [a.packages.get(name), b.packages.get(name)];
          if (was === is) continue;
          const step = `${name}\n${was ?? ""}\n${is ?? ""}`;
          if (!steps.has(step)) steps.set(step, new Set());
          steps.get(step).add(service);
        }
      }
      const packages = [...steps.keys()].sort().map((step) => {
        const [name, was, is] = step.split("\n");
        const link = node("a", name);
        link.href = `packages/${encodeURIComponent(encodeURIComponent(name)).replace(/%252B/g, "+")}.html`;
        return [link, was ? ver(was) : badge("new"), is ? ver(is) : badge("gone"), [...steps.get(step)].sort().join(", ")];
      });
      byId("summary").textContent =
        `${services.length} artifacts differ, ${unchanged} are the same; ${packages.length} packages change.`;
      byId("result").replaceChildren(
        ...(services.length ? [node("h2", "Services"),
          table(["Service", "Target", "From", "To", "Download", "Change"], services, "Services that differ")] : []),
        ...(packages.length ? [node("h2", "Packages"),
          table(["Package", "From", "To", "In"], packages, "Packages that change")] : []),
      );
      const names = [from, to].map((select) => select.selectedOptions[0]?.textContent ?? "");
      const code = compare.querySelector(".command code");
      code.textContent = code.textContent.replace(/^venvoy diff \S+ \S+/, `venvoy diff ${names[0]} ${names[1]}`);
      history.replaceState(null, "", `#${names.map(encodeURIComponent).join("...")}`);
    };
    const update = async () => {
      try {
        await Promise.all([load(Number(from.value)), load(Number(to.value))]);
        draw();
      } catch (error) {
        byId("summary").textContent = error.message;
      }
    };
    const choose = (select, name) => {
      const option = [...select.options].find((item) => item.textContent === name);
      if (option) select.value = option.value;
    };
    const asked = location.hash.slice(1).split("...").map(decodeURIComponent);
    if (asked.length === 2) { choose(from, asked[0]); choose(to, asked[1]); }
    byId("swap").addEventListener("click", () => { [from.value, to.value] = [to.value, from.value]; update(); });
    from.addEventListener("change", update);
    to.addEventListener("change", update);
    compare.hidden = false;
    if (from.options.length) update();
  }
})();
