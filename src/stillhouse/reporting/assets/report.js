// The page's only script: theme, hints on charts, and the browser of queries. All else is drawn in the file already.
// Texts of queries and models are untrusted: they enter the page through textContent and nothing else.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const served = root.hasAttribute("data-served");
  const byId = (id) => document.getElementById(id);
  const PAGE = 20;
  const STATES = { v: "verified", u: "unverified", w: "waiting", x: "exhausted", "?": "undecided", l: "too long", "-": "not asked" };

  // Control characters and overrides of direction are shown as signs: a text must not turn or hide what is around it.
  const visible = (text) => text.replace(/\r\n/g, "\n").replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\ufeff]/g, (sign) => {
    const code = sign.charCodeAt(0);
    if (code < 32) return String.fromCharCode(0x2400 + code);
    return code === 127 ? "\u2421" : "‹U+" + code.toString(16).toUpperCase().padStart(4, "0") + "›";
  });
  const make = (tag, kind, text) => {
    const element = document.createElement(tag);
    if (kind) element.className = kind;
    if (text !== undefined && text !== null) element.textContent = visible(String(text));
    return element;
  };
  const many = (count) => count.toLocaleString("en");
  const bytesOf = (text) => { // a callback for each letter would take a second for 100,000 queries
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const letters = atob(text), bytes = new Uint8Array(letters.length);
    for (let at = 0; at < letters.length; at++) bytes[at] = letters.charCodeAt(at);
    return bytes;
  };
  const unpack = async (text) => {
    const bytes = bytesOf(text);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  };

  // Theme: the system's, until the reader chooses.
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  byId("theme").addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; });

  // The section that is read is marked in the contents.
  const links = new Map([...document.querySelectorAll("nav .links a")].map((link) => [link.hash.slice(1), link]));
  for (const [id, link] of links) {
    link.addEventListener("click", (event) => { // the address goes on holding what the browser of queries shows
      if (!location.hash.includes("=")) return;
      event.preventDefault();
      byId(id).scrollIntoView();
    });
  }
  let here = null;
  const mark = () => {
    let last = null;
    for (const [id, link] of links) {
      const section = byId(id);
      if (section && section.getBoundingClientRect().top < innerHeight * 0.35) last = link;
    }
    if (innerHeight + scrollY >= root.scrollHeight - 4 && scrollY > 0) last = [...links.values()].pop();
    if (last === here) return;
    if (here) here.classList.remove("here");
    if (last) last.classList.add("here");
    here = last;
  };
  let waits = false;
  addEventListener("scroll", () => { if (!waits) { waits = true; requestAnimationFrame(() => { waits = false; mark(); }); } }, { passive: true });
  mark();

  // Hints: what a mark of a chart stands for, where the pointer is or a finger taps.
  const tip = byId("tip");
  const hint = (event) => {
    const title = event.target.closest && event.target.closest("svg") && event.target.querySelector(":scope > title");
    if (title) { event.target.dataset.tip = title.textContent; title.remove(); }
    const words = event.target.dataset && event.target.dataset.tip;
    tip.hidden = !words;
    if (!words) return;
    tip.textContent = words;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(6, Math.min(event.clientX + 12, innerWidth - box.width - 6)) + "px";
    tip.style.top = (event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 10 : event.clientY + 18) + "px";
  };
  document.addEventListener("pointermove", hint, { passive: true });
  document.addEventListener("pointerdown", hint, { passive: true });
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  // On paper everything that is folded is open.
  let folded = [];
  addEventListener("beforeprint", () => { folded = [...document.querySelectorAll("details:not([open])")]; folded.forEach((fold) => { fold.open = true; }); });
  addEventListener("afterprint", () => { folded.forEach((fold) => { fold.open = false; }); folded = []; });

  if (!data.index) { root.dataset.ready = Math.round(performance.now()); return; }
  const start = async () => {
    const index = await unpack(data.index);
    const names = data.teachers;
    const indexed = index.key.length;
    const sides = index.teachers;
    const position = new Map(index.sampled.map((row, place) => [row, place]));
    let lower = null; // made when something is searched for
    const lowered = (row) => (index.text[row] + " " + (index.id[row] || "") + " " + index.key[row]).toLowerCase();

    // ---- state, kept in the address so that a link shows what its sender saw
    const fields = { q: byId("q"), category: byId("category"), source: byId("source"), differ: byId("differ"), traced: byId("traced") };
    const outcome = names.map((_, place) => byId("outcome-" + place));
    let page = 0, open = null, found = [], asked = "", searched = "";
    const fill = (select, values) => values.forEach((value, code) => {
      const option = make("option", "", value.length > 60 ? value.slice(0, 59) + "…" : value || "(none)");
      option.value = String(code);
      select.append(option);
    });
    fill(fields.category, index.categories);
    fill(fields.source, index.sources);
    if (served) {
      fields.traced.closest("label").hidden = true;
      byId("shown").textContent = "Every attempt of every teacher, from the run folder. Words are searched for in whole queries. The address keeps what you see, so a link shows it to others.";
    }

    const remember = () => {
      const state = new URLSearchParams();
      if (fields.q.value) state.set("q", fields.q.value);
      if (fields.category.value) state.set("category", index.categories[fields.category.value]);
      if (fields.source.value) state.set("source", index.sources[fields.source.value]);
      if (fields.differ.checked) state.set("differ", "1");
      if (!fields.traced.checked && !served) state.set("all", "1");
      outcome.forEach((select, place) => { if (select.value) state.set("is-" + names[place], select.value); });
      if (page) state.set("page", page + 1);
      if (open !== null) state.set("open", index.key[open]);
      const text = state.toString();
      history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
    };
    const recall = () => {
      const state = new URLSearchParams(location.hash.slice(1));
      const code = (values, name) => { const at = values.indexOf(state.get(name)); return at < 0 ? "" : String(at); };
      fields.q.value = state.get("q") || "";
      fields.category.value = state.has("category") ? code(index.categories, "category") : "";
      fields.source.value = state.has("source") ? code(index.sources, "source") : "";
      fields.differ.checked = state.has("differ");
      fields.traced.checked = !served && !state.has("all");
      outcome.forEach((select, place) => { select.value = state.get("is-" + names[place]) || ""; });
      page = Math.max(0, (parseInt(state.get("page"), 10) || 1) - 1);
      const at = state.has("open") ? index.key.indexOf(state.get("open").slice(0, 12)) : -1;
      open = at < 0 ? null : at;
      return [...state.keys()].some((name) => ["q", "category", "source", "open", "differ", "all", "page"].includes(name) || name.startsWith("is-"));
    };

    // ---- filters
    const fits = new Map(Object.entries({
      first: (side, row) => side.first[row] === "p",
      missed: (side, row) => side.first[row] === "f",
      solved: (side, row) => side.state[row] === "v" || side.state[row] === "u",
      unsolved: (side, row) => "x?l".includes(side.state[row]),
      waiting: (side, row) => side.state[row] === "w",
    }));
    let elsewhere = new Set(); // rows whose whole text holds the words, as the server says
    const search = () => {
      searched = fields.q.value;
      const words = fields.q.value.toLowerCase().split(/\s+/).filter(Boolean);
      if (words.length && (lower === null || lower.length < index.key.length)) lower = index.key.map((_, row) => lowered(row));
      const category = fields.category.value === "" ? -1 : Number(fields.category.value);
      const source = fields.source.value === "" ? -1 : Number(fields.source.value);
      const tests = outcome.map((select, place) => [fits.get(select.value), sides[place]]).filter(([test]) => test);
      const differ = fields.differ.checked, traced = fields.traced.checked && !served;
      found = [];
      for (let row = 0; row < index.key.length; row++) {
        if (row >= indexed && !words.length) break;
        if (category >= 0 && index.category[row] !== category) continue;
        if (source >= 0 && index.source[row] !== source) continue;
        if (traced && !position.has(row)) continue;
        if (differ && !(sides.some((side) => side.first[row] === "p") && sides.some((side) => side.first[row] === "f"))) continue;
        if (tests.some(([test, side]) => !test(side, row))) continue;
        if (words.length && !elsewhere.has(row) && words.some((word) => !lower[row].includes(word))) continue;
        found.push(row);
      }
    };
    // Of the server: queries whose whole text holds the words, also those that the page's index has no room for.
    const ask = async (words) => {
      asked = words;
      if (!served || !words.trim()) { elsewhere = new Set(); return; }
      const answer = await fetch("api/search?" + new URLSearchParams({ q: words }));
      if (!answer.ok) throw new Error(await answer.text());
      const told = await answer.json();
      if (asked !== words) return;
      elsewhere = new Set(told.queries.map(learn));
      search(); draw();
    };
    const codeOf = (values, value) => { const at = values.indexOf(value); return at < 0 ? values.push(value) - 1 : at; };
    const learn = (query) => {
      const held = index.key.indexOf(query.key);
      if (held >= 0) return held;
      index.key.push(query.key); index.id.push(query.id); index.text.push(query.text);
      index.category.push(codeOf(index.categories, query.category)); index.source.push(codeOf(index.sources, query.source));
      sides.forEach((side, place) => {
        const [state, first, attempts] = query.sides[place];
        side.state += state; side.first += first; side.attempts.push(attempts);
      });
      return index.key.length - 1;
    };

    // ---- list
    const list = byId("list");
    const standing = (side, row) => {
      const state = side.state[row];
      if (state === "v" || state === "u") return ["good", side.attempts[row] > 1 ? "✓ at " + side.attempts[row] : "✓"];
      if (state === "x") return ["bad", side.attempts[row] > 1 ? "✗ of " + side.attempts[row] : "✗"];
      if (state === "l") return ["bad", "✗ too long"];
      return ["faint", state === "-" ? "–" : STATES[state]];
    };
    const draw = () => {
      const last = Math.max(0, Math.ceil(found.length / PAGE) - 1);
      page = Math.min(page, last);
      list.replaceChildren();
      for (const row of found.slice(page * PAGE, page * PAGE + PAGE)) {
        const button = make("button", "row");
        button.type = "button";
        button.dataset.row = row;
        button.setAttribute("aria-expanded", String(row === open));
        const what = make("span", "what");
        const where = make("span", "where");
        where.append(make("bdi", "", index.categories[index.category[row]] || "no category"));
        if (index.id[row]) where.append(" · ", make("bdi", "", index.id[row]));
        what.append(where, make("bdi", "", index.text[row] || "(no text)"));
        const marks = make("span", "marks");
        sides.forEach((side, place) => {
          const [kind, words] = standing(side, row);
          const one = make("span", kind);
          one.append(make("i", "swatch c" + (place % 8)), words);
          one.title = names[place] + ": " + STATES[side.state[row]];
          marks.append(one);
        });
        button.append(what, marks);
        list.append(button);
        if (row === open) list.append(detail(row));
      }
      const size = Math.max(indexed, index.key.length);
      byId("found").textContent = many(found.length) + " of " + many(size) + (size === 1 ? " query" : " queries") + (data.total > size ? " (a sample of " + many(data.total) + ")" : "");
      byId("page").textContent = found.length ? "page " + many(page + 1) + " of " + many(last + 1) : "nothing fits these filters";
      byId("back").disabled = page === 0;
      byId("next").disabled = page >= last;
    };

    // ---- traces: unpacked when a query is opened, from the page, from a script beside it, or from the server
    const loading = new Map(), arrived = new Map();
    window.stillhouseTraces = (number, text) => { const take = arrived.get(number); if (take) take(text); };
    const beside = (number) => new Promise((resolve, reject) => {
      arrived.set(number, resolve);
      const script = document.createElement("script");
      script.src = "report/traces-" + number + ".js";
      script.onerror = () => reject(new Error("report/traces-" + number + ".js is not beside this page: copy the folder report/ with it"));
      document.head.append(script);
    });
    const chunk = (number) => {
      if (!loading.has(number)) {
        const inside = data.chunks[number][2];
        const unpacked = (inside === null ? beside(number) : Promise.resolve(inside)).then(unpack);
        unpacked.catch(() => loading.delete(number)); // so that it is tried again
        loading.set(number, unpacked);
      }
      return loading.get(number);
    };
    const fetched = async (key) => {
      const answer = await fetch("api/queries/" + encodeURIComponent(key));
      if (!answer.ok) throw new Error(await answer.text());
      return answer.json();
    };
    const traceOf = async (row) => {
      if (served) return fetched(index.key[row]);
      const place = position.get(row);
      if (place === undefined) return null;
      const number = data.chunks.findIndex(([from, count]) => place >= from && place < from + count);
      return number < 0 ? null : (await chunk(number))[place - data.chunks[number][0]];
    };

    const detail = (row) => {
      const box = make("div", "open");
      box.append(make("p", "note", "…"));
      traceOf(row).then((item) => {
        box.replaceChildren();
        if (!item) {
          box.append(make("p", "note", "The traces of this query are not among those of this page. `stillhouse serve RUN` shows all of them."));
          return;
        }
        const question = make("div", "question");
        item.messages.forEach((turn) => {
          if (item.messages.length > 1) question.append(make("h4", "", turn.role));
          question.append(make("pre", "", turn.content));
        });
        const known = item.reference !== null && item.reference !== undefined ? "reference: " + item.reference : item.has_tests ? "verified by tests" : "no reference";
        question.append(make("p", "note", known));
        box.append(question);
        const columns = make("div", "sides");
        names.forEach((name, place) => columns.append(column(name, place, item.traces[place] || [], sides[place], row)));
        box.append(columns);
      }).catch((error) => box.replaceChildren(make("p", "bad", error.message)));
      return box;
    };
    const column = (name, place, traces, side, row) => {
      const box = make("div", "side");
      const all = traces.slice().sort((one, other) => one.attempt - other.attempt);
      if (!all.length) all.push(null);
      all.forEach((trace) => {
        const card = make("article", "trace");
        const head = make("h4");
        head.append(make("i", "swatch c" + (place % 8)), make("bdi", "", name), trace && trace.attempt ? ", attempt " + trace.attempt : "");
        card.append(head);
        if (!trace) {
          card.append(make("p", "said", STATES[side.state[row]] + "; no reply to show"));
        } else {
          const said = make("p", "said");
          const verdict = trace.outcome || (trace.accepted ? "accepted" : null);
          if (verdict) said.append(make("b", verdict === "fail" ? "bad" : verdict === "unknown" ? "" : "good", verdict));
          const number = typeof trace.tokens === "number" ? many(trace.tokens) + " tokens" : "";
          const money = typeof trace.cost === "number" && trace.cost > 0 ? "$" + Number(trace.cost.toPrecision(2)) : "";
          const more = [trace.rule && "by " + trace.rule, trace.reason, number, money, trace.finish && trace.finish !== "stop" && "ended by " + trace.finish, trace.malformed && "malformed: " + trace.malformed, trace.dropped && "dropped by " + trace.dropped].filter(Boolean);
          said.append((verdict && more.length ? " · " : "") + visible(more.join(" · ")));
          card.append(said);
          if (trace.thinking) {
            const fold = make("details");
            fold.open = true;
            fold.append(make("summary", "", "thinking"), make("pre", "thinking", trace.thinking));
            card.append(fold);
          }
          card.append(make("pre", "answer", trace.answer || "(no answer)"));
        }
        box.append(card);
      });
      return box;
    };

    // ---- events
    const failed = (error) => { byId("found").textContent = "The search of whole queries failed: " + error.message; };
    const changed = () => { page = 0; open = null; search(); draw(); remember(); if (fields.q.value !== asked) ask(fields.q.value).catch(failed); };
    let timer = 0;
    fields.q.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(changed, served ? 250 : 120); });
    [fields.category, fields.source, fields.differ, fields.traced, ...outcome].forEach((field) => field.addEventListener("change", changed));
    fields.q.addEventListener("change", () => { if (fields.q.value !== searched) changed(); }); // it also comes when the field is left
    const turn = (by) => { page += by; open = null; draw(); remember(); byId("samples").scrollIntoView(); };
    byId("back").addEventListener("click", () => turn(-1));
    byId("next").addEventListener("click", () => turn(1));
    byId("clear").addEventListener("click", () => {
      fields.q.value = fields.category.value = fields.source.value = "";
      fields.differ.checked = false; fields.traced.checked = !served;
      outcome.forEach((select) => { select.value = ""; });
      changed();
    });
    list.addEventListener("click", (event) => {
      const button = event.target.closest("button.row");
      if (!button) return;
      const row = Number(button.dataset.row);
      open = open === row ? null : row;
      draw(); remember();
      const again = list.querySelector('button.row[data-row="' + row + '"]');
      if (again) again.focus({ preventScroll: true });
    });
    const show = async () => {
      const asked_ = recall();
      const wanted = new URLSearchParams(location.hash.slice(1)).get("open");
      if (served && wanted && open === null) { // a query beyond the page's index
        const stub = await fetch("api/search?" + new URLSearchParams({ key: wanted })).then((answer) => (answer.ok ? answer.json() : { queries: [] }));
        if (stub.queries.length) { open = learn(stub.queries[0]); if (!fields.q.value) fields.q.value = index.key[open]; }
      }
      search();
      if (open !== null && found.includes(open)) page = Math.floor(found.indexOf(open) / PAGE);
      draw();
      if (asked_) byId("samples").scrollIntoView({ behavior: "instant" });
      if (served && fields.q.value) ask(fields.q.value).catch(failed);
    };
    window.addEventListener("hashchange", () => { if (location.hash.includes("=") || !location.hash) show(); });
    await show();
    root.dataset.ready = Math.round(performance.now());
  };
  start().catch((error) => { byId("found").textContent = "The index of queries could not be read: " + error.message; });
})();
