// The segment builder. One model, the definition as JSON; the page is drawn from it and writes back into it.
// Each change is counted by the server after a pause; an older count that is still on its way is given up.
(() => {
  const form = document.getElementById("segment");
  if (!form) return;
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const vocabulary = read("vocabulary");
  const said = vocabulary.said;
  const words = new Map(vocabulary.words.map((word) => [word.name, word]));
  const builder = document.getElementById("builder");
  const written = document.getElementById("id_definition");
  const panel = document.getElementById("count");
  const KINDS = ["all", "any", "none"];
  const PAUSE = 350;

  let definition = read("definition");
  let places = new Map(); // path -> element, to show a mistake where it was made
  let drawn = 0;

  // --- Small pieces of page -----------------------------------------------------------------------------------------

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value === true) made.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  const button = (label, action, attributes = {}) =>
    element("button", { type: "button", class: "cdp-button", onclick: action, ...attributes }, label);
  const icon = (sign, label, action, disabled = false) =>
    element("button", { type: "button", class: "segment-icon", title: label, "aria-label": label, onclick: action, disabled }, sign);

  function select(label, options, value, change) {
    const made = element("select", { class: "segment-input", "aria-label": label });
    for (const [key, text] of options) made.append(element("option", { value: key, selected: key === String(value) }, text));
    made.addEventListener("change", () => change(made.value));
    return made;
  }

  function input(label, type, value, change, attributes = {}) {
    const made = element("input", { class: "segment-input", type, "aria-label": label, value: value ?? "", ...attributes });
    made.addEventListener("input", () => change(made.value));
    return made;
  }

  // A list of codes of which several may be chosen: it opens on demand.
  function choices(label, list, values, change) {
    const chosen = new Set(values);
    const summary = element("summary", { class: "segment-input", "aria-label": label });
    const name = () => {
      const names = [...chosen].map((code) => list[code] ?? code);
      summary.textContent = names.length === 0 ? `${label}${said.colon} ${said.anyOf}` : names.length <= 2 ? names.join(", ") : `${names.length} ${said.chosen}`;
    };
    const box = element("div");
    for (const code of new Set([...Object.keys(list), ...chosen])) {
      const tick = element("input", { type: "checkbox", checked: chosen.has(code) });
      tick.addEventListener("change", () => {
        if (tick.checked) chosen.add(code);
        else chosen.delete(code);
        name();
        change([...chosen]);
      });
      box.append(element("label", {}, tick, list[code] ?? code));
    }
    name();
    const opened = element("details", { class: "segment-choices" }, summary, box);
    opened.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        opened.open = false;
        summary.focus();
      }
    });
    return opened;
  }

  document.addEventListener("click", (event) => {
    for (const opened of builder.querySelectorAll("details.segment-choices[open]")) {
      if (!opened.contains(event.target)) opened.open = false;
    }
  });

  // --- The model ----------------------------------------------------------------------------------------------------

  const kindOf = (node) => KINDS.find((kind) => kind in node);
  const whole = (text) => (text.trim() === "" || !Number.isInteger(Number(text)) ? (text.trim() === "" ? undefined : text) : Number(text));
  const cents = (text) => (text.trim() === "" || Number.isNaN(Number(text)) ? undefined : Math.round(Number(text) * 100));
  const listed = (text) => text.split(",").map((part) => part.trim()).filter(Boolean);

  function newLeaf(word = vocabulary.words[0]) {
    const leaf = { field: word.name, op: word.operators.includes(">=") ? ">=" : word.operators[0] };
    resetValue(leaf, word);
    return leaf;
  }

  function resetValue(leaf, word) {
    const codes = Object.keys(vocabulary.lists[word.list] ?? {});
    delete leaf.value;
    delete leaf.or_missing;
    if (vocabulary.withoutValue.includes(leaf.op)) return;
    const first = { number: 1, cents: 1000, days: word.name === "birthday" ? 7 : 30, day: undefined, text: undefined, flag: true }[word.takes] ?? codes[0];
    if (leaf.op === "between") leaf.value = [first, first];
    else if (vocabulary.ofMany.includes(leaf.op)) leaf.value = first === undefined ? [] : [first];
    else leaf.value = first;
  }

  function put(object, key, value) {
    if (value === undefined || value === "" || (Array.isArray(value) && value.length === 0)) delete object[key];
    else object[key] = value;
  }

  // --- Drawing ------------------------------------------------------------------------------------------------------

  function drawGroup(group, path, depth, remove) {
    const kind = kindOf(group);
    const here = path ? `${path}.${kind}` : kind;
    const children = group[kind];
    const box = element("fieldset", { class: "segment-group", "data-kind": kind });
    const turn = select(said.group, KINDS.map((name) => [name, said[name]]), kind, (chosen) => {
      delete group[kind];
      group[chosen] = children;
      redraw(`${path ? `${path}.` : ""}${chosen}`);
    });
    places.set(here, box);
    if (path) places.set(path, box);
    box.append(
      element("legend", { class: "cdp-visually-hidden" }, said.group),
      element("div", { class: "segment-group-head" }, turn, remove ? icon("✕", `${said.remove}: ${said.group}`, remove) : null),
    );
    const list = element("ol", { class: "segment-children" });
    children.forEach((child, i) => {
      const place = `${here}[${i}]`;
      const drop = () => {
        children.splice(i, 1);
        redraw(here);
      };
      const move = (by) => {
        children.splice(i + by, 0, children.splice(i, 1)[0]);
        redraw(`${here}[${i + by}]`);
      };
      const item = kindOf(child)
        ? drawGroup(child, place, depth + 1, drop)
        : drawLeaf(child, place, { drop, up: i > 0 ? () => move(-1) : null, down: i < children.length - 1 ? () => move(1) : null });
      list.append(element("li", {}, item));
    });
    if (children.length === 0) list.append(element("li", { class: "cdp-note" }, said.everybody));
    box.append(
      list,
      element(
        "div",
        { class: "cdp-buttons" },
        button(`+ ${said.addCondition}`, () => {
          children.push(newLeaf());
          redraw(`${here}[${children.length - 1}]`);
        }),
        depth < vocabulary.deepest
          ? button(`+ ${said.addGroup}`, () => {
              children.push({ any: [newLeaf()] });
              redraw(`${here}[${children.length - 1}]`);
            })
          : null,
      ),
    );
    return box;
  }

  function drawLeaf(leaf, path, { drop, up, down }) {
    const word = words.get(leaf.field);
    const box = element("div", { class: "segment-leaf", role: "group", "aria-label": `${said.condition}: ${word?.label ?? leaf.field}` });
    places.set(path, box);
    const again = () => redraw(path);
    const fields = vocabulary.words.map((each) => [each.name, each.label]);
    if (!word) fields.unshift([leaf.field ?? "", leaf.field ?? said.choose]);
    const row = element("div", { class: "segment-row" });
    row.append(
      select(said.field, fields, leaf.field, (name) => {
        const chosen = newLeaf(words.get(name));
        for (const key of Object.keys(leaf)) delete leaf[key];
        Object.assign(leaf, chosen);
        again();
      }),
    );
    if (word) {
      for (const param of word.params) row.append(...drawParam(leaf, param));
      const names = word.takes === "day" ? vocabulary.dayOperators : vocabulary.operators;
      row.append(
        select(said.operator, word.operators.map((op) => [op, names[op]]), leaf.op, (op) => {
          const many = (each) => each === "between" || vocabulary.ofMany.includes(each) || vocabulary.withoutValue.includes(each);
          const kept = many(op) || many(leaf.op) ? undefined : leaf.value;
          leaf.op = op;
          resetValue(leaf, word);
          if (kept !== undefined) leaf.value = kept;
          again();
        }),
        ...drawValue(leaf, word),
      );
      if (word.windowed) row.append(...drawWindow(leaf, again));
      if (word.mayBeMissing && ["!=", "not_in"].includes(leaf.op)) {
        const tick = element("input", { type: "checkbox", checked: leaf.or_missing === true });
        tick.addEventListener("change", () => {
          put(leaf, "or_missing", tick.checked || undefined);
          changed();
        });
        row.append(element("label", { class: "segment-label" }, tick, ` ${said.orMissing}`));
      }
    }
    row.append(
      element(
        "span",
        { class: "segment-row-end" },
        icon("↑", said.up, up, !up),
        icon("↓", said.down, down, !down),
        icon("✕", said.remove, drop),
      ),
    );
    box.append(row);
    if (word) box.append(element("p", { class: "cdp-note" }, word.help));
    return box;
  }

  function drawParam(leaf, param) {
    const change = (value) => {
      put(leaf, param.name, value);
      changed();
    };
    if (param.list) {
      const values = leaf[param.name] === undefined ? [] : [leaf[param.name]].flat();
      return [choices(param.label, vocabulary.lists[param.list], values, (chosen) => change(chosen.length === 1 ? chosen[0] : chosen))];
    }
    if (leaf[param.name] === undefined && param.required) leaf[param.name] = 30;
    return [
      element("span", { class: "segment-label" }, param.label),
      input(param.label, "number", leaf[param.name], (text) => change(whole(text)), { min: 0, class: "segment-input segment-number" }),
    ];
  }

  function drawValue(leaf, word) {
    const set = (value) => {
      put(leaf, "value", value);
      changed();
    };
    if (vocabulary.withoutValue.includes(leaf.op)) return [];
    const list = vocabulary.lists[word.list];
    if (word.takes === "flag") {
      return [select(said.value, [["true", said.yes], ["false", said.no]], leaf.value, (text) => set(text === "true"))];
    }
    if (vocabulary.ofMany.includes(leaf.op)) {
      const values = [leaf.value ?? []].flat();
      if (list) return [choices(said.value, list, values, set)];
      return [input(said.value, "text", values.join(", "), (text) => set(listed(text)), { title: said.manyHint, placeholder: said.manyHint })];
    }
    if (list) return [select(said.value, codesOf(list, leaf.value), leaf.value, set)];
    if (leaf.op === "between") {
      const pair = Array.isArray(leaf.value) ? leaf.value : (leaf.value = [undefined, undefined]);
      return [0, 1].map((i) =>
        atom(word, i ? said.to : said.from, pair[i], (value) => {
          pair[i] = value ?? null;
          changed();
        }),
      );
    }
    return [atom(word, said.value, leaf.value, set)];
  }

  const codesOf = (list, value) => [...(value in list ? [] : [[value ?? "", value ?? said.choose]]), ...Object.entries(list)];

  // One number, amount, day or text.
  function atom(word, label, value, change) {
    if (word.takes === "cents") {
      const units = typeof value === "number" ? (value / 100).toFixed(2) : "";
      return input(label, "number", units, (text) => change(cents(text)), { step: "0.01", class: "segment-input segment-number" });
    }
    if (word.takes === "day") return input(label, "date", value, (text) => change(text || undefined));
    if (word.takes === "text") return input(label, "text", value, (text) => change(text || undefined), { maxlength: 120 });
    return input(label, "number", value, (text) => change(whole(text)), { min: 0, class: "segment-input segment-number" });
  }

  function drawWindow(leaf, again) {
    const now = leaf.window;
    const kind = !now ? "ever" : "last_days" in now ? "lastDays" : "month" in now ? "month" : "dates";
    const today = new Date().toISOString().slice(0, 10);
    const made = [
      select(said.window, ["ever", "lastDays", "month", "dates"].map((name) => [name, said[name]]), kind, (chosen) => {
        const windows = { lastDays: { last_days: 90 }, month: { month: "previous" }, dates: { from: `${today.slice(0, 4)}-01-01`, to: today } };
        put(leaf, "window", windows[chosen]);
        again();
      }),
    ];
    if (kind === "lastDays") {
      made.push(
        input(said.days, "number", now.last_days, (text) => {
          now.last_days = whole(text) ?? null;
          changed();
        }, { min: 1, max: 3660, class: "segment-input segment-number" }),
      );
    }
    if (kind === "dates") {
      for (const end of ["from", "to"]) {
        made.push(
          input(said[end], "date", now[end], (text) => {
            put(now, end, text);
            changed();
          }),
        );
      }
    }
    return made;
  }

  function redraw(focus) {
    places = new Map();
    builder.replaceChildren(drawGroup(definition, "", 1, null));
    if (drawn++ && focus !== undefined) places.get(focus)?.querySelector("select, input, button")?.focus();
    changed();
  }

  // --- Counting -----------------------------------------------------------------------------------------------------

  let waiting = null;
  let asked = null;

  function changed() {
    written.value = JSON.stringify(definition, null, 2);
    clearTimeout(waiting);
    waiting = setTimeout(count, PAUSE);
  }

  async function count() {
    asked?.abort();
    asked = new AbortController();
    const mine = asked;
    const question = new FormData();
    question.set("definition", written.value);
    question.set("csrfmiddlewaretoken", form.elements.csrfmiddlewaretoken.value);
    const store = form.dataset.store ?? form.elements.store?.value;
    if (store) question.set("store", store);
    panel.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(form.dataset.count, { method: "POST", body: question, signal: mine.signal });
      const html = await answer.text();
      if (mine !== asked) return;
      if (answer.ok || answer.status === 422) panel.innerHTML = html;
      else panel.textContent = said.noCount;
      mark(panel.querySelector("[data-path]"));
    } catch (error) {
      if (error.name === "AbortError") return;
      panel.textContent = said.noCount;
    }
    panel.removeAttribute("aria-busy");
  }

  // Show a mistake at its row: the longest place that begins its path.
  function mark(mistake) {
    builder.querySelectorAll(".segment-error").forEach((old) => old.remove());
    builder.querySelectorAll(".segment-wrong").forEach((old) => old.classList.remove("segment-wrong"));
    if (!mistake) return;
    const path = mistake.dataset.path;
    const place = [...places.keys()].filter((each) => path.startsWith(each)).sort((a, b) => b.length - a.length)[0];
    const row = places.get(place);
    if (!row) return;
    row.classList.add("segment-wrong");
    row.append(element("p", { class: "cdp-error segment-error" }, mistake.textContent));
  }

  written.addEventListener("change", () => {
    try {
      const typed = JSON.parse(written.value);
      if (typed && typeof typed === "object" && Array.isArray(typed[kindOf(typed)])) {
        definition = typed;
        redraw();
        return;
      }
    } catch {
      // Not JSON yet: the server says so when it is saved.
    }
    clearTimeout(waiting);
    count();
  });
  form.elements.store?.addEventListener("change", changed);

  redraw();
  mark(document.getElementById("wrong"));
})();
