// The page's only script: theme, and the browser of queries. Everything else is drawn in the file already.
// Texts of queries and models are untrusted: they enter the page through textContent and nothing else.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const PAGE = 20;
  const STATES = { v: "verified", u: "unverified", w: "waiting", x: "exhausted", "?": "undecided", l: "too long", "-": "not asked" };

  const make = (tag, kind, text) => {
    const element = document.createElement(tag);
    if (kind) element.className = kind;
    if (text !== undefined && text !== null) element.textContent = text;
    return element;
  };
  const unpack = async (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  };

  // Theme: the system's, until the reader chooses.
  const theme = byId("theme");
  const dark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  theme.addEventListener("click", () => { document.documentElement.dataset.theme = dark() ? "light" : "dark"; });

  if (!data.index) return;
  const start = async () => {
    const index = await unpack(data.index);
    const names = data.teachers;
    const size = index.key.length;
    const position = new Map(index.sampled.map((row, place) => [row, place]));
    const lower = index.text.map((text, row) => (text + " " + (index.id[row] || "") + " " + index.key[row]).toLowerCase());

    // ---- state, kept in the address so that a link shows what its sender saw
    const fields = { q: byId("q"), category: byId("category"), source: byId("source"), differ: byId("differ"), traced: byId("traced") };
    const outcome = names.map((_, place) => byId("outcome-" + place));
    let page = 0, open = null, found = [];
    const fill = (select, values) => values.forEach((value, code) => {
      const option = make("option", "", value || "(none)");
      option.value = String(code);
      select.append(option);
    });
    fill(fields.category, index.categories);
    fill(fields.source, index.sources);

    const remember = () => {
      const state = new URLSearchParams();
      if (fields.q.value) state.set("q", fields.q.value);
      if (fields.category.value) state.set("category", index.categories[fields.category.value]);
      if (fields.source.value) state.set("source", index.sources[fields.source.value]);
      if (fields.differ.checked) state.set("differ", "1");
      if (!fields.traced.checked) state.set("all", "1");
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
      fields.traced.checked = !state.has("all");
      outcome.forEach((select, place) => { select.value = state.get("is-" + names[place]) || ""; });
      page = Math.max(0, (parseInt(state.get("page"), 10) || 1) - 1);
      const at = state.has("open") ? index.key.indexOf(state.get("open")) : -1;
      open = at < 0 ? null : at;
      return ["q", "category", "source", "open", "differ", "all", "page"].some((name) => state.has(name));
    };

    // ---- filters
    const fits = {
      first: (side, row) => side.first[row] === "p",
      missed: (side, row) => side.first[row] === "f",
      solved: (side, row) => side.state[row] === "v" || side.state[row] === "u",
      unsolved: (side, row) => "x?l".includes(side.state[row]),
      waiting: (side, row) => side.state[row] === "w",
    };
    const sides = names.map((name) => index.teachers[name]);
    const search = () => {
      const words = fields.q.value.toLowerCase().split(/\s+/).filter(Boolean);
      const category = fields.category.value === "" ? -1 : Number(fields.category.value);
      const source = fields.source.value === "" ? -1 : Number(fields.source.value);
      const tests = outcome.map((select, place) => [fits[select.value], sides[place]]).filter(([test]) => test);
      const differ = fields.differ.checked, traced = fields.traced.checked;
      found = [];
      for (let row = 0; row < size; row++) {
        if (category >= 0 && index.category[row] !== category) continue;
        if (source >= 0 && index.source[row] !== source) continue;
        if (traced && !position.has(row)) continue;
        if (differ && !(sides.some((side) => side.first[row] === "p") && sides.some((side) => side.first[row] === "f"))) continue;
        if (tests.some(([test, side]) => !test(side, row))) continue;
        if (words.some((word) => !lower[row].includes(word))) continue;
        found.push(row);
      }
    };

    // ---- list
    const list = byId("list");
    const mark = (side, row) => {
      const state = side.state[row];
      if (state === "v" || state === "u") return ["good", side.attempts[row] > 1 ? "✓ at " + side.attempts[row] : "✓"];
      if (state === "x" || state === "l") return ["bad", state === "l" ? "✗ too long" : "✗ of " + side.attempts[row]];
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
        what.append(make("span", "where", index.categories[index.category[row]] + (index.id[row] ? " · " + index.id[row] : "")), index.text[row] || "(no text)");
        const marks = make("span", "marks");
        sides.forEach((side, place) => {
          const [kind, words] = mark(side, row);
          const one = make("span", kind);
          one.append(make("i", "swatch c" + (place % 8)), words);
          one.title = names[place] + ": " + STATES[side.state[row]];
          marks.append(one);
        });
        button.append(what, marks);
        list.append(button);
        if (row === open) list.append(detail(row));
      }
      byId("found").textContent = found.length.toLocaleString("en") + " of " + size.toLocaleString("en") + " queries" + (data.total > size ? " (a sample of " + data.total.toLocaleString("en") + ")" : "");
      byId("page").textContent = found.length ? "page " + (page + 1) + " of " + (last + 1) : "nothing fits these filters";
      byId("back").disabled = page === 0;
      byId("next").disabled = page >= last;
    };

    // ---- traces: unpacked when a query is opened, from the page or from a script beside it
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
        loading.set(number, (inside === null ? beside(number) : Promise.resolve(inside)).then(unpack));
      }
      return loading.get(number);
    };
    const traceOf = async (row) => {
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
          box.append(make("p", "note", "Traces of this query are not among those of this page. All of them are in the run folder."));
          return;
        }
        const question = make("div", "question");
        item.messages.forEach((turn) => {
          if (item.messages.length > 1) question.append(make("h4", "", turn.role));
          question.append(make("pre", "", turn.content));
        });
        const known = item.reference !== null ? "reference: " + item.reference : item.has_tests ? "verified by tests" : "no reference";
        question.append(make("p", "note", known));
        box.append(question);
        const columns = make("div", "sides");
        names.forEach((name, place) => columns.append(column(name, place, item.traces[name] || [], sides[place], row)));
        box.append(columns);
      }).catch((error) => box.replaceChildren(make("p", "bad", error.message)));
      return box;
    };
    const column = (name, place, traces, side, row) => {
      const box = make("div", "side");
      const all = traces.slice().sort((one, other) => one.attempt - other.attempt);
      if (!all.length) all.push(null);
      all.forEach((trace) => {
        const card = make("section", "trace");
        const head = make("h4");
        head.append(make("i", "swatch c" + (place % 8)), name + (trace && trace.attempt ? ", attempt " + trace.attempt : ""));
        card.append(head);
        if (!trace) {
          card.append(make("p", "said", STATES[side.state[row]] + "; no reply to show"));
        } else {
          const said = make("p", "said");
          const verdict = trace.outcome || (trace.accepted ? "accepted" : null);
          if (verdict) said.append(make("b", verdict === "fail" ? "bad" : verdict === "unknown" ? "" : "good", verdict));
          const more = [trace.rule && "by " + trace.rule, trace.reason, trace.tokens !== null && trace.tokens !== undefined && trace.tokens.toLocaleString("en") + " tokens", trace.finish && trace.finish !== "stop" && "ended by " + trace.finish, trace.malformed && "malformed: " + trace.malformed, trace.dropped && "dropped by " + trace.dropped].filter(Boolean);
          said.append((verdict && more.length ? " · " : "") + more.join(" · "));
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
    const changed = () => { page = 0; open = null; search(); draw(); remember(); };
    let timer = 0;
    fields.q.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(changed, 120); });
    [fields.category, fields.source, fields.differ, fields.traced, ...outcome].forEach((field) => field.addEventListener("change", changed));
    byId("back").addEventListener("click", () => { page--; open = null; draw(); remember(); byId("samples").scrollIntoView(); });
    byId("next").addEventListener("click", () => { page++; open = null; draw(); remember(); byId("samples").scrollIntoView(); });
    byId("clear").addEventListener("click", () => {
      fields.q.value = fields.category.value = fields.source.value = "";
      fields.differ.checked = false; fields.traced.checked = true;
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
    const show = () => {
      const asked = recall();
      search();
      if (open !== null && found.includes(open)) page = Math.floor(found.indexOf(open) / PAGE);
      draw();
      if (asked) byId("samples").scrollIntoView();
    };
    window.addEventListener("hashchange", () => { if (location.hash.includes("=") || !location.hash) show(); });
    show();
    document.documentElement.dataset.ready = Math.round(performance.now());
  };
  start().catch((error) => { byId("found").textContent = "The index of queries could not be read: " + error.message; });
})();
