"use strict";
// The tape, its steps and its arrays come as JSON; all text goes into the page as text, never as
// markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  // What is empty is not in the data.
  const usual = { reads: [], given: [], senders: [], sent: [], lines: 0, linesBack: 0, shape: "", summary: "" };
  const entries = data.entries.map((entry) => ({ ...usual, ...entry }));
  const $ = (id) => document.getElementById(id);
  const pane = (id) => document.querySelector(`#${id} > .pane`);

  // First every entry in the order in which it ran, then back along those that have a gradient.
  const steps = entries.map((_, i) => ({ entry: i, backward: false }));
  for (let i = entries.length - 1; i >= 0; i--) {
    if (entries[i].gradient !== undefined) steps.push({ entry: i, backward: true });
  }
  const turn = steps.length > entries.length ? entries.length : -1;
  let current = 0;
  let before = steps[0];

  function element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name.includes("-") || name === "role") made.setAttribute(name, value);
      else made[name] = value;
    }
    made.append(...children.filter((child) => child !== null && child !== ""));
    return made;
  }

  const code = (text) => element("code", {}, text);
  const gradientName = (i) => `d${entries[i].label}`;

  // Arrays.

  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let printing = false;

  // From blue over the ground to orange, so that the lighter (or darker) a cell, the nearer to 0.
  const LIGHT = { zero: [247, 247, 244], negative: [33, 102, 172], positive: [224, 130, 20] };
  const DARK = { zero: [36, 40, 46], negative: [76, 163, 232], positive: [245, 160, 75] };

  const largest = (cells) => Math.max(...cells.map(Number).filter(Number.isFinite).map(Math.abs), 0);

  function colour(value, most) {
    const colours = dark.matches && !printing ? DARK : LIGHT;
    // NaN and infinity have a colour of their own; whole numbers too large for JSON come as words.
    value = Number(value);
    if (!Number.isFinite(value)) return [180, 0, 120];
    const share = most > 0 ? Math.min(1, Math.abs(value) / most) ** 0.6 : 0;
    const end = value < 0 ? colours.negative : colours.positive;
    return colours.zero.map((from, i) => Math.round(from + share * (end[i] - from)));
  }

  function brightness([r, g, b]) {
    const linear = [r, g, b].map((c) => (c / 255 <= 0.03928 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  }

  function number(value, digits = 6) {
    if (typeof value !== "number") return String(value);
    const short = Number(value.toPrecision(digits));
    const tiny = short !== 0 && (Math.abs(short) < 1e-4 || Math.abs(short) >= 1e9);
    return (tiny ? short.toExponential() : String(short)).replaceAll("-", "−");
  }

  // Where a cell of the picture is in the array: the picture has the last axis across.
  function place(array, row, column) {
    const [rows, columns] = array.index;
    const last = columns ? columns[column] : column;
    let rest = rows ? rows[row] : row;
    if (array.shape.length === 0) return "";
    const index = [last];
    for (let axis = array.shape.length - 2; axis >= 0; axis--) {
      index.unshift(rest % array.shape[axis]);
      rest = Math.floor(rest / array.shape[axis]);
    }
    return `[${index.join(", ")}]`;
  }

  function stats(array) {
    const parts = [];
    if (array.min !== undefined) {
      parts.push(`min ${number(array.min, 4)}`, `max ${number(array.max, 4)}`, `mean ${number(array.mean, 4)}`);
      parts.push(`${array.zeros} zeros`);
    }
    if (array.true) parts.push(`${array.true} True`);
    if (array.wrong) parts.push(`${array.wrong} not finite`);
    if (array.index[0] || array.index[1]) {
      const all = array.shape.length > 1 ? array.shape.join(" × ") : `1 × ${array.shape[0]}`;
      parts.push(`${array.rows} × ${array.columns} of ${all} cells shown`);
    }
    return parts.join(", ");
  }

  function grid(array, withColours) {
    const table = element("table");
    const head = element("tr", {}, element("td"));
    const most = largest(array.cells);
    for (let c = 0; c < array.columns; c++) {
      head.append(element("th", { scope: "col" }, String(array.index[1] ? array.index[1][c] : c)));
    }
    if (!withColours) table.append(head);
    for (let r = 0; r < array.rows; r++) {
      const row = element("tr");
      if (!withColours) row.append(element("th", { scope: "row" }, place(array, r, 0).replace(/, \d+\]$/, ", …]")));
      for (let c = 0; c < array.columns; c++) {
        const value = array.cells[r * array.columns + c];
        const cell = element("td", { title: place(array, r, c) }, number(value));
        if (withColours) {
          const back = colour(value, most);
          cell.style.background = `rgb(${back})`;
          cell.style.color = brightness(back) > 0.18 ? "#000" : "#fff";
        }
        row.append(cell);
      }
      table.append(row);
    }
    return table;
  }

  function heatMap(array, name) {
    const canvas = element("canvas", { width: array.columns, height: array.rows });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${name} as a picture: ${stats(array)}`);
    const fit = (room, n, most) => Math.max(3, Math.min(most, Math.floor(room / n)));
    canvas.style.width = `${array.columns * fit(330, array.columns, 40)}px`;
    canvas.style.height = `${array.rows * fit(200, array.rows, 14)}px`;
    const most = largest(array.cells);
    const context = canvas.getContext("2d");
    const image = context.createImageData(array.columns, array.rows);
    array.cells.forEach((value, i) => image.data.set([...colour(value, most), 255], 4 * i));
    context.putImageData(image, 0, 0);
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      const column = Math.floor(((event.clientX - box.left) / box.width) * array.columns);
      const row = Math.floor(((event.clientY - box.top) / box.height) * array.rows);
      if (column < 0 || row < 0 || column >= array.columns || row >= array.rows) return;
      const tip = $("tip");
      tip.textContent = `${place(array, row, column)} = ${number(array.cells[row * array.columns + column])}`;
      tip.hidden = false;
      tip.style.left = `${Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8)}px`;
      tip.style.top = `${event.clientY + 14}px`;
    });
    canvas.addEventListener("pointerleave", () => { $("tip").hidden = true; });
    return canvas;
  }

  function picture(given, name) {
    const array = typeof given === "object" ? given
      : { shape: [], dtype: "float64", rows: 1, columns: 1, index: [null, null], cells: [given] };
    const box = element("div", { className: "array" });
    box.dataset.name = name;
    const shape = array.shape.length ? ` (${array.shape.join(", ")}${array.shape.length === 1 ? "," : ""})` : "";
    box.append(element("div", { className: "mono" }, element("span", { className: "name" }, name), shape, array.dtype === "float64" ? "" : ` ${array.dtype}`));
    if (array.cells.length === 0) box.append(element("div", { className: "stats" }, "empty"));
    else if (array.shape.length === 0) box.append(element("div", { className: "scalar" }, number(array.cells[0])));
    else if (array.cells.length <= 24 && array.columns <= 6) {
      box.append(element("div", { className: "scroll" }, grid(array, true)));
    } else {
      const numbers = element("details", {}, element("summary", {}, `${name} in numbers`));
      numbers.addEventListener("toggle", () => {
        if (numbers.open && numbers.children.length === 1) {
          const scroll = element("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": `${name} in numbers` });
          scroll.append(grid(array, false));
          numbers.append(scroll);
        }
      });
      box.append(heatMap(array, name), element("div", { className: "stats" }, stats(array)), numbers);
    }
    return box;
  }

  const pictures = (...made) => element("div", { className: "arrays" }, ...made);

  // The tape.

  const rows = entries.map((entry, i) => {
    const what = element("span", { className: "what" }, element("i", {}, entry.number), ` ${entry.text}`);
    const values = element("span", { className: "values" }, `${entry.shape} `,
      element("b", { className: "value" }, entry.summary));
    if (entry.gradient !== undefined) {
      values.append(element("b", { className: "gradient" }, ` · grad ${entry.gradientSummary}`));
    }
    const button = element("button", { type: "button", tabIndex: -1 }, what, values);
    button.addEventListener("click", () => go(stepOf(i)));
    const row = element("li", {}, button);
    return row;
  });

  // Of an entry the step that goes the same way as the one that is shown.
  function stepOf(i) {
    const wanted = steps[current].backward;
    const found = steps.findIndex((step) => step.entry === i && step.backward === wanted);
    return found < 0 ? i : found;
  }

  const arcs = [];
  entries.forEach((entry, i) => new Set(entry.reads).forEach((from) => arcs.push([from, i])));
  const svgNames = "http://www.w3.org/2000/svg";
  let frame = 0;

  function rowHeight() {
    return rows[0].getBoundingClientRect().height;
  }

  // Only those arcs that can be seen are drawn: a tape may have thousands.
  function drawArcs() {
    frame = 0;
    const height = rowHeight();
    const scroller = pane("tape");
    const top = printing ? 0 : Math.max(0, scroller.scrollTop - 200);
    const bottom = printing ? height * rows.length : scroller.scrollTop + scroller.clientHeight + 200;
    const width = $("arcs").getBoundingClientRect().width || 72;
    const svg = $("arcs");
    svg.style.top = `${top}px`;
    svg.style.height = `${Math.min(bottom, height * rows.length) - top}px`;
    const made = [];
    const { entry, backward } = steps[current];
    const draw = ([from, to], isActive) => {
      const [y0, y1] = [from, to].map((i) => (i + 0.5) * height - top);
      const bow = Math.min(width - 16, 10 + 9 * Math.log2(1 + to - from));
      const edge = width - 4;
      const path = document.createElementNS(svgNames, "path");
      path.setAttribute("d", `M${edge} ${y0}C${edge - bow * 1.3} ${y0} ${edge - bow * 1.3} ${y1} ${edge} ${y1}`);
      if (isActive) {
        path.setAttribute("class", "active");
        const tip = backward ? y0 : y1;
        const head = document.createElementNS(svgNames, "path");
        head.setAttribute("class", "head");
        head.setAttribute("d", `M${edge + 3} ${tip}l-8 -4v8z`);
        made.push(head);
      }
      made.push(path);
    };
    const seen = arcs.filter(([from, to]) => (to + 1) * height >= top && from * height <= bottom);
    seen.forEach((arc) => { if (arc[1] !== entry) draw(arc, false); });
    seen.forEach((arc) => { if (arc[1] === entry) draw(arc, !backward || entries[entry].sent.some((s) => s.to === arc[0])); });
    svg.replaceChildren(...made);
  }

  function redraw() {
    if (!frame) frame = requestAnimationFrame(drawArcs);
  }

  // What the user has written and what was generated.

  function listing(lines, first, file) {
    const made = element("pre", { className: "code" });
    if (file) made.append(element("div", {}, element("span", { className: "file" }, file)));
    const shown = lines.map((line, i) => {
      const row = element("div", {}, element("span", { className: "number" }, String(first + i)), line);
      made.append(row);
      return row;
    });
    return [made, shown];
  }

  const userLines = data.files.map(({ name, first, lines }) => {
    const [made, shown] = listing(lines, first, name);
    pane("code").append(made);
    return shown;
  });
  const programLines = [];
  if (data.program) {
    const [made, shown] = listing(data.program, 1, "");
    pane("program").append(made);
    programLines.push(...shown);
  }
  if (!data.files.length) $("code").remove();
  if (!data.program) $("program").remove();
  if (!data.files.length && !data.program) {
    $("codes").remove();
    document.querySelector("main").className = "no-codes";
  }

  let lit = [];
  function light(wanted) {
    lit.forEach((line) => { line.classList.remove("lit"); line.removeAttribute("aria-current"); });
    lit = wanted;
    lit.forEach((line) => { line.classList.add("lit"); line.setAttribute("aria-current", "true"); });
  }

  // Brings a line into sight within its pane, without moving the page.
  function bring(line) {
    const scroller = line?.closest(".pane");
    if (!scroller) return;
    const [outer, inner] = [scroller.getBoundingClientRect(), line.getBoundingClientRect()];
    const margin = Math.min(60, outer.height / 4);
    if (inner.top < outer.top + margin) scroller.scrollTop -= outer.top + margin - inner.top;
    else if (inner.bottom > outer.bottom - margin) scroller.scrollTop += inner.bottom - outer.bottom + margin;
  }

  // One step.

  function forwardStep(entry) {
    const made = [element("h3", {}, code(entry.text))];
    if (entry.at) made.push(userLine(entry));
    if (entry.constant) made.push(element("p", {}, "A constant, which the program found. No gradient is asked for it."));
    else if (!entry.computed) made.push(element("p", {}, "An input: what the program is given."));
    if (entry.numbers) {
      made.push(element("h4", {}, `In numbers${entry.cell ? `, at [${entry.cell.join(", ")}]` : ""}`));
      made.push(element("p", { className: "numbers" }, code(entry.numbers)));
    }
    if (entry.value !== undefined) made.push(element("h4", {}, entry.computed ? "The result" : "The value"), pictures(picture(entry.value, entry.label)));
    const read = entry.reads.filter((i) => entries[i].value !== undefined).map((i) => picture(entries[i].value, entries[i].label));
    const given = entry.given.map(({ name, value }) => picture(value, name));
    if (read.length + given.length) made.push(element("h4", {}, "What it reads"), pictures(...read, ...given));
    return made;
  }

  function userLine(entry) {
    const [file, line] = entry.at;
    const text = userLines[file]?.[line - data.files[file].first]?.lastChild?.textContent.trim();
    return element("p", { className: "quiet" }, `line ${line}: `, code(text || ""));
  }

  function ways(i) {
    const counts = new Map();
    entries[i].senders.forEach((from) => counts.set(from, (counts.get(from) ?? 0) + 1));
    const names = [...counts].map(([from, n]) => `${entries[from].label}${n > 1 ? ` (${n} times)` : ""}`);
    return names.length < 3 ? names.join(" and ") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
  }

  const isArray = (value) => typeof value === "object" && value.shape.length > 0;

  function backwardStep(entry, i) {
    const name = gradientName(i);
    const made = [element("h3", {}, "Back at ", code(entry.text))];
    if (entry.at) made.push(userLine(entry));
    const what = `${name} is the derivative of the result by ${isArray(entry.gradient) ? "each number of " : ""}${entry.label}`;
    if (entry.senders.length === 0) {
      made.push(element("p", {}, data.seed
        ? `The way back begins here: ${name} is the gradient that was given for the result.`
        : `The way back begins here. ${what}, which is the result itself: 1.`));
    } else if (entry.senders.length === 1) {
      made.push(element("p", {}, `${what}. It came from ${ways(i)}.`));
    } else {
      made.push(element("p", {}, `${what}. It is complete now: the sum of what came from ${ways(i)}.`));
    }
    made.push(pictures(picture(entry.gradient, name)));
    if (!entry.computed) made.push(element("p", {}, `${entry.label} is an input, so the way back ends here: this is its gradient.`));
    entry.sent.forEach((sent) => made.push(...sentStep(sent)));
    return made;
  }

  function sentStep(sent) {
    const to = entries[sent.to];
    const name = gradientName(sent.to);
    const sign = sent.of > 1 ? "+=" : "=";
    const made = [element("h4", {}, "Sent to ", code(to.label))];
    if (sent.written) made.push(element("p", { className: "sent" }, code(`${name} ${sign} ${sent.written}`)));
    else if (sent.words) made.push(element("p", { className: "sent" }, code(`${name} ${sign} `), sent.words));
    if (sent.numbers) made.push(element("p", { className: "numbers" }, code(sent.numbers)));
    if (sent.stretched) {
      made.push(element("p", { className: "note stretched" }, `A broadcast is undone: ${to.label} ${sent.stretched}. Every time counts, so what comes back to it is added up.`));
    }
    const shown = [picture(sent.gx ?? to.gradient, sent.of > 1 ? `sent to ${to.label}` : name)];
    if (sent.of > 1) {
      const other = sent.of - sent.count;
      shown.push(picture(sent.total ?? to.gradient, `${name} so far (${other ? `${other} more to come` : "complete"})`));
      made.push(element("p", { className: "note adds" }, sent.count === 1
        ? `${to.label} is read ${sent.of} times, so its gradient has ${sent.of} parts, which add up. This is the first.`
        : `Added to what was there: the result depends on ${to.label} in ${sent.of} ways, by ${ways(sent.to)}. When ${to.label} changes, each way changes the result, and the changes add up. With = in place of += all but the last would be lost.`));
    }
    made.push(pictures(...shown));
    const rule = data.rules[sent.rule];
    const source = element("pre", { className: "rule", tabIndex: 0 }, rule);
    const names = sent.names ? element("p", { className: "quiet" }, "with ", code(sent.names)) : "";
    // Of many lines the formula above says what they come to here.
    const isLong = rule.includes("\n") && (sent.written || sent.words);
    const title = "The rule in the rule book";
    if (isLong) made.push(element("details", {}, element("summary", {}, title), source, names));
    else made.push(element("p", { className: "quiet title" }, `${title}:`), source, names);
    return made;
  }

  function describe(step) {
    const { entry, backward } = steps[step];
    const way = backward ? `back ${step - turn + 1} of ${steps.length - turn}` : `forward ${step + 1} of ${entries.length}`;
    return `Step ${step + 1} of ${steps.length}, ${way}: ${entries[entry].number}: ${backward ? gradientName(entry) : entries[entry].text}`;
  }

  function show() {
    const { entry, backward } = steps[current];
    document.body.classList.toggle("is-backward", backward);
    const slider = $("slider");
    slider.value = current;
    slider.setAttribute("aria-valuetext", describe(current));
    $("now").textContent = describe(current);
    // A button that is really disabled would lose the focus.
    for (const [id, is] of [["first", current === 0], ["back", current === 0],
      ["next", current === steps.length - 1], ["last", current === steps.length - 1]]) {
      $(id).setAttribute("aria-disabled", is);
    }
    const shown = entries[entry];
    const panel = pane("step");
    const hadFocus = panel.contains(document.activeElement);
    const open = before === steps[current] ? [...panel.querySelectorAll("details")].map((x) => x.open) : [];
    panel.replaceChildren(...(backward ? backwardStep(shown, entry) : forwardStep(shown)));
    [...panel.querySelectorAll("details")].forEach((x, i) => { x.open = Boolean(open[i]); });
    if (hadFocus) panel.focus();
    if (before !== steps[current]) panel.scrollTop = 0;
    $("tip").hidden = true;
    // Only the rows between the step before and this one look otherwise.
    const near = before.backward === backward ? [before.entry, entry] : [0, rows.length - 1];
    for (let i = Math.min(...near); i <= Math.max(...near); i++) {
      rows[i].className = (backward || i <= entry ? "done " : "") + (backward && i >= entry ? "pulled " : "");
    }
    rows[before.entry].firstChild.tabIndex = -1;
    rows[before.entry].firstChild.removeAttribute("aria-current");
    rows[entry].classList.add("current");
    rows[entry].firstChild.tabIndex = 0;
    rows[entry].firstChild.setAttribute("aria-current", "step");
    before = steps[current];
    bring(rows[entry]);
    const wanted = data.lineSets[backward ? shown.linesBack : shown.lines].map((line) => programLines[line]);
    const user = shown.at && userLines[shown.at[0]]?.[shown.at[1] - data.files[shown.at[0]].first];
    light([...wanted.filter(Boolean), ...(user ? [user] : [])]);
    bring(wanted[0]);
    if (user) bring(user);
    redraw();
  }

  function go(step) {
    current = Math.max(0, Math.min(steps.length - 1, step));
    show();
  }

  $("about").textContent = data.about;
  if (data.why) {
    document.querySelector("header").append(element("p", { className: "note" }, data.why));
  }
  $("rows").append(...rows);
  $("slider").max = steps.length - 1;
  $("turn").disabled = turn < 0;
  $("first").addEventListener("click", () => go(0));
  $("back").addEventListener("click", () => go(current - 1));
  $("next").addEventListener("click", () => go(current + 1));
  $("last").addEventListener("click", () => go(steps.length - 1));
  $("turn").addEventListener("click", () => go(turn));
  $("slider").addEventListener("input", () => go(Number($("slider").value)));
  pane("tape").addEventListener("scroll", redraw, { passive: true });
  window.addEventListener("resize", redraw);
  dark.addEventListener("change", show);
  window.addEventListener("pageshow", show);
  window.addEventListener("beforeprint", () => { printing = true; show(); drawArcs(); });
  window.addEventListener("afterprint", () => { printing = false; show(); });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=text], textarea")) return;
    const jumps = { ArrowLeft: current - 1, ArrowRight: current + 1, Home: 0, End: steps.length - 1 };
    if (turn >= 0) jumps.b = jumps.B = turn;
    if (!(event.key in jumps)) return;
    event.preventDefault();
    go(jumps[event.key]);
  });

  show();
})();
