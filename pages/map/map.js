// The map of heads (and FFNs): paints a gesture at once, tells the server, and keeps in step with what it answers.
// How the two stay one is written in protocol.py. Nothing here is read as HTML: what comes in is numbers and labels.

const RECENT = 5000; // ms for which a press elsewhere is noted: its run has long begun then
const PAUSE = 200; // ms between two messages while no answer has come: clicks in a row become one message
const EACH_NAMED = 1200; // cells: up to this many, each is an element with a name; beyond, two that follow the focus
const NARROWEST = 6, WIDEST = 72; // pixels: limits of a cell's width
const LOWEST = 9, HIGHEST = 46, HEIGHT = 470; // and of its height, and the height of all layers: as charts.layer_step
const LEFT = 44, BOTTOM = 36, TOP = 5, GAP = 7; // pixels: layers' numbers, heads' numbers, above, before the FFNs
const EASY = matchMedia("(pointer: coarse)").matches ? 24 : 15; // pixels of a cell that is easily hit; below, zooming is offered
const ZOOMS = [1, 1.5, 2, 3, 4];
const WINDOW = 640; // pixels: the highest window that a zoomed map is seen through
const ORANGE = "#e07b1f", APART = "#8c2f7d"; // off; off in only one of two masks

// --- what all maps of this tab share ------------------------------------------------------------------------

const shared = {
  answer: null, // the server's last answer: {session, rev, seen, off, headless, trail}
  // What it has not seen: gestures [n, off, lowest layer, highest, first column, last], [n, "undo"] and the like,
  // [n, "text", what was written into the field], and presses elsewhere
  log: [],
  n: 0, // the number of the last gesture or step
  mask: null, // [layer][column]: is it off? the answer with the log done to it
  at: 0, // where on the trail of masks that is, and how long the trail is then
  of: 1,
  maps: new Set(), // those that switch it, and the buttons for steps
  stills: new Set(), // those that show another mask, perhaps held against it
  from: null, // the map that tells
  written: null, // what is being written into the mask's field, and neither left nor sent off
  whole: false, // is all of the field selected, to be written over?
  sent: 0, // the last gesture told, and when
  sentAt: -Infinity,
  timer: 0,
  listening: false,
};

const isOurs = (entry) => Array.isArray(entry); // no press elsewhere
const isStep = (entry) => isOurs(entry) && typeof entry[1] === "string";

function adopt(answer) {
  const known = shared.answer;
  if (known && known.session === answer.session && answer.rev < known.rev) return; // an older drawing, seen again
  const shape = (one) => `${one.off.length} ${one.off[0]?.length} ${one.headless}`;
  if (known && shape(known) !== shape(answer)) shared.log = []; // another model
  if (known && known.session !== answer.session) shared.sent = 0;
  if (!known || known.session !== answer.session || answer.rev > known.rev) {
    shared.log = shared.log.filter((entry) => !isOurs(entry) || entry[0] > answer.seen);
    const first = shared.log.findIndex(isOurs);
    shared.log = first < 0 ? [] : shared.log.slice(leading(first));
  }
  shared.answer = answer;
  shared.n = Math.max(shared.n, answer.seen);
  replay();
}

// Presses just before the first open gesture still matter: their runs may not have begun.
function leading(first) {
  let start = first;
  while (start > 0 && !isOurs(shared.log[start - 1])) start -= 1;
  return start;
}

function replay() {
  const { off, trail } = shared.answer;
  let mask = asMask(off), { at, of } = trail;
  const known = new Map(Object.entries(trail.near).map(([i, rows]) => [Number(i), asMask(rows)])).set(at, mask);
  const then = (next) => { mask = next; at += 1; of = at + 1; known.set(at, mask); };
  for (const entry of shared.log.filter(isOurs)) {
    if (!isStep(entry)) {
      const next = mask.map((row) => row.slice());
      apply(next, entry);
      then(next);
    } else if (entry[1] === "text") {
      then(mask); // as it is until the server has read it
    } else if (entry[1] === "clear") {
      if (any(mask)) then(mask.map((row) => new Uint8Array(row.length)));
    } else {
      const to = at + (entry[1] === "undo" ? -1 : 1);
      if (to < 0 || to >= of) continue;
      at = to;
      mask = known.get(at) ?? mask; // farther than is known: as it is until the server has said
    }
  }
  Object.assign(shared, { mask, at, of });
}

const any = (mask) => mask.some((row) => row.includes(1));

// A rectangle may lie across layers without heads: there it switches the FFN alone.
function apply(mask, [, off, low, high, left, right]) {
  for (let layer = low; layer <= high; layer += 1) {
    const first = shared.answer.headless.includes(layer) ? Math.max(left, mask[layer].length - 1) : left;
    if (first <= right) mask[layer].fill(off, first, right + 1);
  }
}

function gesture(map, { off, layers: [low, high], columns: [left, right] }) {
  done(map, [off ? 1 : 0, low, high, left, right]);
}

// Undo, Redo or Clear, where there is anything to do so.
function step(from, what) {
  if (shared.answer && can(what)) done(from, [what]);
}

function can(what) {
  return what === "undo" ? shared.at > 0 : what === "redo" ? shared.at < shared.of - 1 : any(shared.mask);
}

function write() {
  if (shared.written === null || !shared.answer) return;
  done(shared.from, ["text", shared.written]);
  shared.written = null;
  tell(true);
}

function done(from, entry) {
  shared.n += 1;
  shared.log.push([shared.n, ...entry]);
  shared.from = from;
  replay();
  repaint();
  tell(false);
}

function repaint() {
  for (const one of [...shared.maps, ...shared.stills]) one.paint();
}

const asMask = (rows) => rows.map((row) => Uint8Array.from(row, Number));

// The first message goes at once, the next when it is answered or after a pause; `now`: whatever is open goes.
function tell(now) {
  clearTimeout(shared.timer);
  const last = shared.log.findLast(isOurs)?.[0] ?? 0;
  if (!shared.answer || last <= shared.answer.seen) return;
  const since = performance.now() - shared.sentAt;
  if (last === shared.sent) return; // told; saying it again would interrupt what answers it
  if (!now && shared.sent > shared.answer.seen && since < PAUSE) {
    shared.timer = setTimeout(() => tell(false), PAUSE - since);
  } else {
    say(last);
  }
}

function say(last) {
  const map = shared.maps.has(shared.from) ? shared.from : shared.maps.values().next().value;
  if (!map) return; // none is drawn: the next one tells
  shared.sent = last;
  shared.sentAt = performance.now();
  const log = shared.log.filter((entry) => isOurs(entry) || entry.at > shared.sentAt - RECENT)
    .map((entry) => entry.key ?? entry);
  map.say("mask", { rev: shared.answer.rev, off: shared.mask.map((row) => row.join("")), log });
}

// What is open goes out before anything else on the page can be pressed, and the log notes what was pressed.
function listen() {
  if (shared.listening) return;
  shared.listening = true;
  const outside = (event) => ![...shared.maps].some((map) => event.composedPath().includes(map.box));
  for (const kind of ["pointerdown", "keydown"])
    document.addEventListener(kind, (event) => outside(event) && shared.sent < shared.n && tell(true), true);
  addEventListener("pagehide", () => shared.sent < shared.n && tell(true));
  attend();
  for (const kind of ["click", "change"])
    document.addEventListener(kind, (event) => outside(event) && note(event), true);
  document.addEventListener("keydown", (event) => {
    const what = stepOf(event);
    if (!what || !shared.maps.size) return;
    event.preventDefault();
    step(shared.maps.values().next().value, what);
  });
}

// What a key means, but for one who writes: a field has an undo of its own.
function stepOf(event) {
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return null;
  if (event.composedPath()[0].closest?.("input, textarea, select, [contenteditable=true]")) return null;
  const key = event.key.toLowerCase();
  return key === "z" ? (event.shiftKey ? "redo" : "undo") : key === "y" && !event.shiftKey ? "redo" : null;
}

// What is written is told like a gesture, and before the field's own report, which may be of what it showed earlier.
// The page may be drawn anew under a hand that writes: what it had written or selected is put back before it goes on.
function attend() {
  const on = (kind, what) => document.addEventListener(kind, (event) => {
    if (event.composedPath().some((one) => one.classList?.contains("st-key-off")) && event.target.select) what(event);
  }, true);
  on("focusin", ({ target }) => overlook(target));
  on("select", ({ target }) => {
    const selected = target.selectionEnd - target.selectionStart;
    if (selected || !target.value) shared.whole = selected === target.value.length;
  });
  on("pointerdown", () => { shared.whole = false; });
  on("keydown", (event) => {
    if (["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) shared.whole = false;
    if (event.key === "Enter" && !event.isComposing) write();
  });
  on("beforeinput", ({ target }) => {
    if (shared.written !== null && target.value !== shared.written)
      target.setRangeText(shared.written, 0, target.value.length, "end");
    else if (shared.whole) target.select();
  });
  on("input", ({ target }) => { [shared.written, shared.whole] = [target.value, false]; });
  on("focusout", () => { shared.whole = false; write(); });
}

// A page is told of a selection some time after it was made. A drawing may come before that, and undo it: so it is looked
// at when the field is given another text (React has a setter of its own there, which does that).
function overlook(field) {
  const given = Object.getOwnPropertyDescriptor(field, "value");
  if (!given?.set || given.set.looks) return;
  const set = function (text) {
    const selected = this.selectionEnd - this.selectionStart;
    if (selected && selected === this.value.length) shared.whole = true;
    given.set.call(this, text);
  };
  set.looks = true;
  Object.defineProperty(field, "value", { ...given, set });
}

function note(event) {
  for (const one of event.composedPath()) {
    const key = [...(one.classList ?? [])].find((name) => name.startsWith("st-key-"));
    if (key) {
      if (shared.log.length < 200) shared.log.push({ key: key.slice("st-key-".length), at: performance.now() });
      return;
    }
  }
}

// --- colours and numbers ------------------------------------------------------------------------------------

function rgb(colour) {
  const hex = colour.trim().replace("#", "");
  if (/^[0-9a-f]{6}$/i.test(hex)) return [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
  return (colour.match(/[\d.]+/g) ?? [128, 128, 128]).slice(0, 3).map(Number);
}

function between(stops, t) {
  const at = Math.min(Math.max(t, 0), 1) * (stops.length - 1);
  const i = Math.min(Math.floor(at), stops.length - 2);
  return stops[i].map((low, k) => Math.round(low + (stops[i + 1][k] - low) * (at - i)));
}

const css = (colour) => `rgb(${colour.join(",")})`;
const luminance = ([r, g, b]) => (0.2126 * r ** 2.2 + 0.7152 * g ** 2.2 + 0.0722 * b ** 2.2) / 255 ** 2.2;
const inkOn = (colour) => (luminance(colour) > 0.3 ? "#101820" : "#ffffff");

function number(value, kind) {
  if (value === null || value === undefined) return "not measured";
  const size = Math.abs(value), sign = value < 0 ? "−" : kind.startsWith("+") ? "+" : "";
  switch (kind.replace("+", "")) {
    case "percent": return `${sign}${(100 * size).toFixed(1)} %`;
    case "points": return `${sign}${(100 * size).toFixed(1)} points`;
    case "count": return `${sign}${Math.round(size)}`;
    case "fixed": return `${sign}${size.toFixed(3)}`;
    default: return sign + (size !== 0 && size < 1e-3 ? size.toExponential(2).replace("-", "−") : String(Number(size.toPrecision(3))));
  }
}

// --- pens: the same strokes on a canvas and in an SVG file --------------------------------------------------

function canvasPen(ctx) {
  return {
    rect(x, y, w, h, fill) { ctx.fillStyle = fill; ctx.fillRect(x, y, w, h); },
    lines(lines, stroke, width, alpha = 1) {
      ctx.globalAlpha = alpha; ctx.strokeStyle = stroke; ctx.lineWidth = width; ctx.lineCap = "butt";
      ctx.beginPath();
      for (const [x1, y1, x2, y2] of lines) { ctx.moveTo(x1, y1); ctx.lineTo(x2, y2); }
      ctx.stroke(); ctx.globalAlpha = 1;
    },
    corner(x, y, size, fill) { // the upper right one of a cell
      ctx.fillStyle = fill;
      ctx.beginPath(); ctx.moveTo(x - size, y); ctx.lineTo(x, y); ctx.lineTo(x, y + size); ctx.fill();
    },
    frame(x, y, w, h, stroke, width, dash = []) {
      ctx.strokeStyle = stroke; ctx.lineWidth = width; ctx.setLineDash(dash);
      ctx.strokeRect(x, y, w, h); ctx.setLineDash([]);
    },
    text(words, x, y, fill, size, align, font, weight = 400, upwards = false) {
      ctx.fillStyle = fill; ctx.font = `${weight} ${size}px ${font}`;
      ctx.textAlign = align; ctx.textBaseline = "middle";
      if (!upwards) { ctx.fillText(words, x, y); return; }
      ctx.save(); ctx.translate(x, y); ctx.rotate(-Math.PI / 2); ctx.fillText(words, 0, 0); ctx.restore();
    },
  };
}

function svgPen() {
  const parts = [];
  const plain = (words) => String(words).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
  const r = (x) => Math.round(x * 100) / 100;
  return {
    rect(x, y, w, h, fill) {
      parts.push(`<rect x="${r(x)}" y="${r(y)}" width="${r(w)}" height="${r(h)}" fill="${plain(fill)}"/>`);
    },
    lines(lines, stroke, width, alpha = 1) {
      if (!lines.length) return;
      const d = lines.map(([x1, y1, x2, y2]) => `M${r(x1)} ${r(y1)}L${r(x2)} ${r(y2)}`).join("");
      parts.push(`<path d="${d}" stroke="${plain(stroke)}" stroke-width="${width}" stroke-opacity="${alpha}"/>`);
    },
    corner(x, y, size, fill) {
      parts.push(`<path d="M${r(x - size)} ${r(y)}H${r(x)}V${r(y + size)}Z" fill="${plain(fill)}"/>`);
    },
    frame(x, y, w, h, stroke, width, dash = []) {
      parts.push(`<rect x="${r(x)}" y="${r(y)}" width="${r(w)}" height="${r(h)}" fill="none" ` +
        `stroke="${plain(stroke)}" stroke-width="${width}" stroke-dasharray="${dash.join(" ")}"/>`);
    },
    text(words, x, y, fill, size, align, font, weight = 400, upwards = false) {
      const anchor = { left: "start", right: "end", center: "middle" }[align];
      const turned = upwards ? ` transform="rotate(-90 ${r(x)} ${r(y)})"` : "";
      parts.push(`<text${turned} x="${r(x)}" y="${r(y)}" fill="${plain(fill)}" font-size="${size}" text-anchor="${anchor}" ` +
        `dominant-baseline="central" font-family="${plain(font)}" font-weight="${weight}">${plain(words)}</text>`);
    },
    file(w, h) {
      return `<svg xmlns="http://www.w3.org/2000/svg" width="${w}" height="${h}" viewBox="0 0 ${w} ${h}">` +
        `${parts.join("")}</svg>`;
    },
  };
}

// --- one map ------------------------------------------------------------------------------------------------

function alike(a, b) {
  return b !== undefined && a.length === b.length &&
    a.every((row, i) => row.length === b[i].length && row.every((t, j) => t === b[i][j]));
}

function element(kind, className, parent) {
  const made = document.createElement(kind);
  if (className) made.className = className;
  parent?.append(made);
  return made;
}

class HeadMap {
  constructor(parent) {
    this.box = element("div", "map", parent);
    this.box.headMap = this; // for whoever looks from outside: tests, a browser's console
    this.window = element("div", "window", this.box);
    this.sheet = element("div", "sheet", this.window);
    this.canvas = element("canvas", "", this.sheet);
    this.canvas.setAttribute("aria-hidden", "true");
    this.grid = element("div", "grid", this.sheet);
    this.grid.setAttribute("role", "grid");
    this.foot = element("div", "foot", this.box);
    this.status = element("div", "status", this.foot);
    this.status.setAttribute("role", "status");
    this.tools = element("div", "tools", this.foot);
    this.legend = element("div", "legend", this.box);
    this.tip = element("div", "tip", this.box);
    this.tip.hidden = true;
    this.ctx = this.canvas.getContext("2d");
    this.zoom = 1;
    this.focus = null; // {layer, column}; -1 is a heading
    this.anchor = null; // where a rectangle began that the keyboard draws
    this.preview = null; // {layers, columns, off}: what the hand would switch if it let go
    this.drag = null;
    this.hover = null;
    this.turn = 0;
    this.abort = new AbortController();
    this.buttons();
    this.listen();
  }

  on(target, kind, what, options = {}) {
    target.addEventListener(kind, what, { signal: this.abort.signal, ...options });
  }

  buttons() {
    const button = (text, name, act, parent = this.tools) => {
      const made = element("button", "", parent);
      made.type = "button";
      made.textContent = text;
      made.title = name;
      made.setAttribute("aria-label", name);
      this.on(made, "click", act);
      return made;
    };
    this.zooming = element("span", "zooming", this.tools);
    this.smaller = button("−", "Zoom out", () => this.zoomBy(-1), this.zooming);
    this.larger = button("+", "Zoom in", () => this.zoomBy(+1), this.zooming);
    this.card = button("", "Everything that is known of this head; a right click on a cell, or the key I, opens its card, too",
      () => this.openCard(this.last));
    this.card.textContent = "Card of L0H0";
    this.card.style.visibility = "hidden"; // until a head was touched; its place is kept, so that nothing moves then
    button("PNG", "Download this map as a PNG picture", () => this.save("png"));
    button("SVG", "Download this map as an SVG picture", () => this.save("svg"));
  }

  listen() {
    this.on(this.window, "pointerdown", (event) => this.down(event));
    this.on(this.window, "pointermove", (event) => this.move(event));
    this.on(this.window, "pointerup", (event) => this.up(event));
    this.on(this.window, "pointercancel", () => this.cancel());
    this.on(this.window, "contextmenu", (event) => {
      const here = this.at(event);
      if (!this.isHead(here) || this.held) return;
      event.preventDefault();
      this.cancel(); // a long touch draws nothing
      this.openCard(here);
    });
    this.on(this.window, "pointerleave", () => { this.hover = null; this.untip(); this.later(); });
    this.on(this.window, "scroll", () => this.paint());
    this.on(this.window, "wheel", (event) => {
      if (!event.ctrlKey || !this.zoomable()) return;
      event.preventDefault();
      this.zoomBy(event.deltaY < 0 ? 1 : -1);
    }, { passive: false });
    this.on(this.grid, "keydown", (event) => this.key(event));
    this.on(this.grid, "focusin", (event) => this.focused(event));
    this.on(this.grid, "focusout", (event) => {
      if (this.grid.contains(event.relatedTarget) || this.moving) return;
      this.focus = null; this.anchor = null;
      if (!this.drag) this.preview = null;
      this.untip(); this.paint();
    });
    this.watch = new ResizeObserver(() => {
      if (Math.round(this.box.clientWidth) !== this.width) this.layout();
    });
    this.watch.observe(this.box);
  }

  destroy() {
    this.abort.abort();
    this.watch.disconnect();
    shared.maps.delete(this);
    shared.stills.delete(this);
    this.box.remove();
  }

  // --- what it is given -------------------------------------------------------------------------------------

  update(data, say, ask) {
    [this.say, this.ask] = [say, ask];
    const drawn = data.map;
    this.data = drawn;
    this.held = drawn.still ? asMask(drawn.still) : null;
    this.rival = drawn.other?.off ? asMask(drawn.other.off) : null;
    this.grid.setAttribute("aria-readonly", String(Boolean(this.held)));
    this.grid.setAttribute("aria-multiselectable", String(!this.held));
    [this.layers, this.heads] = drawn.shape;
    this.columns = this.heads + (drawn.ffns ? 1 : 0);
    this.headless = new Set(drawn.headless);
    this.total = (this.layers - this.headless.size) * this.heads;
    this.theme();
    const form = `${this.layers} ${this.columns} ${drawn.headless}`;
    if (form !== this.form) this.names(); // else the cells stay, and with them the focus and what a hand is drawing
    this.form = form;
    this.grid.setAttribute("aria-label", drawn.alt);
    const legend = JSON.stringify([drawn.legend, drawn.ticks]);
    if (legend !== this.legended) this.drawLegend();
    this.legended = legend;
    this.layout();
  }

  theme() {
    const style = getComputedStyle(this.box);
    const value = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise;
    const stops = (name, otherwise) => (value(name, "") || otherwise).split(/,(?![^(]*\))/).map(rgb);
    this.font = value("--st-font", "sans-serif");
    this.ink = value("--st-text-color", "#1d2733");
    this.paper = value("--st-background-color", "#ffffff");
    this.line = value("--st-border-color", "#dbe2ea");
    this.strong = value("--st-primary-color", "#1f6fb2");
    this.box.style.setProperty("color-scheme", luminance(rgb(this.paper)) > 0.3 ? "light" : "dark");
    this.stops = this.data.signed
      ? stops("--st-chart-diverging-colors", "#124f8c,#eff2f4,#8f4403").reverse() // orange: below zero
      : stops("--st-chart-sequential-colors", "#eef3f8,#08305e");
    const look = `${this.paper} ${this.ink} ${this.stops}`, { shades } = this.data;
    if (look === this.look && alike(shades, this.shaded)) return; // thousands of colours are not mixed at every click
    this.look = look;
    this.shaded = shades;
    const ground = rgb(this.paper), ink = rgb(this.ink);
    const grey = ground.map((low, i) => Math.round(low + (ink[i] - low) * 0.16));
    const ramp = Array.from({ length: 1001 }, (_, i) => between(this.stops, i / 1000));
    const fills = ramp.map(css), inks = ramp.map(inkOn);
    this.fills = shades.map((row) => row.map((t) => (t === null ? css(grey) : fills[t])));
    this.inks = shades.map((row) => row.map((t) => (t === null ? inkOn(grey) : inks[t])));
    this.tint();
  }

  tint() {
    const bar = Array.from({ length: 11 }, (_, i) => css(between(this.stops, i / 10)));
    this.gradient?.style.setProperty("background", `linear-gradient(to right, ${bar.join(",")})`);
  }

  drawLegend() {
    this.legend.replaceChildren();
    this.gradient = null;
    if (!this.data.legend) return;
    element("span", "title", this.legend).textContent = this.data.legend;
    if (!this.data.ticks.length) return;
    const scale = element("span", "scale", this.legend);
    this.gradient = element("span", "gradient", scale);
    for (const [t, text] of this.data.ticks) {
      const tick = element("span", "tick", scale);
      tick.textContent = text;
      tick.style.left = `${t / 10}%`;
    }
    this.tint();
  }

  // --- where things are -------------------------------------------------------------------------------------

  zoomable() {
    return this.base && Math.min(this.base.cw, this.base.ch) < EASY;
  }

  layout() {
    this.width = Math.round(this.box.clientWidth);
    if (!this.width || !this.data) return;
    const gap = this.data.ffns ? GAP : 0;
    this.base = {
      cw: Math.max(NARROWEST, Math.min(WIDEST, (this.width - LEFT - gap - 2) / this.columns)),
      ch: Math.max(LOWEST, Math.min(HIGHEST, HEIGHT / this.layers)),
    };
    this.zooming.hidden = !this.zoomable();
    if (!this.zoomable()) this.zoom = 1;
    this.place = this.geometry(this.base.cw * this.zoom, this.base.ch * this.zoom);
    const { full, tall } = this.place;
    const scrolls = full > this.width + 1;
    this.seen = { w: Math.min(full, this.width), h: this.zoom === 1 ? tall : Math.min(tall, WINDOW) };
    this.window.style.height = `${this.seen.h + (scrolls ? 14 : 0)}px`;
    this.sheet.style.width = `${full}px`;
    this.sheet.style.height = `${tall}px`;
    const dots = window.devicePixelRatio || 1;
    const [w, h] = [Math.round(this.seen.w * dots), Math.round(this.seen.h * dots)];
    if (this.canvas.width !== w || this.canvas.height !== h) { this.canvas.width = w; this.canvas.height = h; }
    this.canvas.style.width = `${this.seen.w}px`;
    this.canvas.style.height = `${this.seen.h}px`;
    this.smaller.disabled = this.zoom === ZOOMS[0];
    this.larger.disabled = this.zoom === ZOOMS.at(-1);
    this.placeNames();
    this.paint();
  }

  geometry(cw, ch) {
    const gap = this.data.ffns ? GAP : 0;
    return { cw, ch, gap, full: Math.round(LEFT + gap + cw * this.columns + 2), tall: Math.round(TOP + ch * this.layers + BOTTOM) };
  }

  x(column, place = this.place) { return LEFT + column * place.cw + (column >= this.heads ? place.gap : 0); }

  y(layer, place = this.place) { return TOP + (this.layers - 1 - layer) * place.ch; }

  // What lies at a point of the window: a cell, or a heading (-1); null beside the map.
  at(event) {
    const frame = this.window.getBoundingClientRect();
    const x = event.clientX - frame.left, y = event.clientY - frame.top;
    const { cw, ch, gap } = this.place;
    if (x < 0 || y < 0 || x > this.seen.w || y > this.seen.h) return null;
    let layer = -1, column = -1;
    if (y <= this.seen.h - BOTTOM) {
      layer = this.layers - 1 - Math.floor((y + this.window.scrollTop - TOP) / ch);
      if (y < TOP && this.window.scrollTop === 0) return null;
      if (layer < 0 || layer >= this.layers) return null;
    }
    if (x >= LEFT) {
      const across = x + this.window.scrollLeft - LEFT;
      column = across < this.heads * cw ? Math.floor(across / cw)
        : this.data.ffns && across >= this.heads * cw + gap / 2 ? this.heads : -2;
      if (column < -1 || column >= this.columns) return null;
    }
    return { layer, column };
  }

  // What is off on this map, [layer][column]; null until the server has said so.
  get mask() { return this.held ?? (shared.mask?.length === this.layers ? shared.mask : null); }

  // What it is held against, likewise; null where it stands alone.
  get other() {
    if (!this.data.other) return null;
    return this.rival ?? (shared.mask?.length === this.layers ? shared.mask : null);
  }

  // Whether a cell is off here and not in the other mask, or the other way round.
  differs(layer, column) {
    const { other } = this;
    return Boolean(other) && this.exists(layer, column) && this.isOff(layer, column) !== Boolean(other[layer][column]);
  }

  // The layers and columns that a place stands for: a cell, a line, or all heads.
  span({ layer, column }) {
    return {
      layers: layer < 0 ? [0, this.layers - 1] : [layer, layer],
      columns: column < 0 ? [0, this.heads - 1] : [column, column],
    };
  }

  rectangle(from, to) {
    const join = (p, q) => [Math.min(p[0], q[0]), Math.max(p[1], q[1])];
    // What begins on a cell stays among cells, what begins on a heading switches whole lines.
    const end = { layer: from.layer < 0 ? -1 : Math.max(0, to.layer), column: from.column < 0 ? -1 : Math.max(0, to.column) };
    const [a, b] = [this.span(from), this.span(end)];
    return { layers: join(a.layers, b.layers), columns: join(a.columns, b.columns) };
  }

  isHead(place) {
    return Boolean(place) && place.layer >= 0 && place.column >= 0 && place.column < this.heads && this.exists(place.layer, place.column);
  }

  // A still map may be of another model, whose heads have no cards here.
  openCard(place) {
    if (!this.isHead(place) || this.held) return;
    tell(true);
    this.ask("card", `L${place.layer}H${place.column}`);
  }

  // Whether there is a head or an FFN here; a layer may have no heads.
  exists(layer, column) { return column >= this.heads || !this.headless.has(layer); }

  // How many heads and FFNs a rectangle holds.
  count({ layers, columns }) {
    let n = 0;
    for (let layer = layers[0]; layer <= layers[1]; layer += 1)
      for (let column = columns[0]; column <= columns[1]; column += 1) n += this.exists(layer, column);
    return n;
  }

  allOff({ layers, columns }) {
    let any = false;
    for (let layer = layers[0]; layer <= layers[1]; layer += 1)
      for (let column = columns[0]; column <= columns[1]; column += 1) {
        if (!this.exists(layer, column)) continue;
        if (!this.mask[layer][column]) return false;
        any = true;
      }
    return any;
  }

  // What a hand has asked for is done, where there is anything to switch.
  switch(what) {
    if (this.count(what) && !this.held) gesture(this, what); else this.paint();
  }

  // --- the hand ---------------------------------------------------------------------------------------------

  down(event) {
    if (event.button !== 0) return;
    const start = this.at(event);
    if (!start) return;
    this.drag = { start, id: event.pointerId, touch: event.pointerType === "touch" };
    if (!this.held) this.preview = { ...this.span(start), off: !this.allOff(this.span(start)) };
    if (!this.drag.touch) {
      event.preventDefault(); // no text is selected; the focus is moved by hand
      this.window.setPointerCapture(event.pointerId);
    }
    this.paint();
    this.refocus(start);
  }

  move(event) {
    const here = this.at(event);
    if (this.drag && !this.drag.touch && here && event.pointerId === this.drag.id) {
      const { off } = this.preview ?? {};
      if (off !== undefined) this.preview = { ...this.rectangle(this.drag.start, here), off };
    }
    const moved = here?.layer !== this.hover?.layer || here?.column !== this.hover?.column;
    this.hover = here;
    this.window.style.cursor = here && !this.held && this.count(this.span(here)) ? "pointer" : "default";
    if (moved) this.later();
    if (here) this.showTip(here, event); else this.untip();
  }

  up(event) {
    if (!this.drag || event.pointerId !== this.drag.id) return;
    const { preview } = this;
    this.drag = null;
    this.preview = null;
    if (preview) this.switch(preview);
    const here = this.at(event);
    if (here) this.showTip(here, event);
  }

  cancel() {
    if (!this.drag) return;
    this.drag = null;
    this.preview = null;
    this.paint();
  }

  // --- the keyboard -----------------------------------------------------------------------------------------

  key(event) {
    if (!this.focus) return;
    const steps = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], PageUp: [8, 0],
      PageDown: [-8, 0], Home: [0, -Infinity], End: [0, Infinity] };
    const step = steps[event.key];
    if (step && !event.altKey && !event.metaKey) {
      const lowest = event.shiftKey ? 0 : -1;
      const within = (value, high) => Math.max(lowest, Math.min(high, value));
      const to = { layer: within(this.focus.layer + step[0], this.layers - 1),
        column: within(this.focus.column + step[1], this.columns - 1) };
      if (event.ctrlKey && event.key === "Home") Object.assign(to, { layer: this.layers - 1, column: lowest });
      if (event.ctrlKey && event.key === "End") Object.assign(to, { layer: Math.max(lowest, 0), column: this.columns - 1 });
      if (event.shiftKey && !this.held && this.focus.layer >= 0 && this.focus.column >= 0) {
        this.anchor ??= this.focus;
        this.preview = { ...this.rectangle(this.anchor, to), off: !this.allOff(this.span(this.anchor)) };
      } else {
        this.anchor = null;
        this.preview = null;
      }
      this.refocus(to);
    } else if (event.key === " " || event.key === "Enter") {
      if (event.repeat) { event.preventDefault(); return; }
      const what = this.preview ?? { ...this.span(this.focus), off: !this.allOff(this.span(this.focus)) };
      this.anchor = null;
      this.preview = null;
      this.switch(what);
      this.showTip(this.focus);
    } else if (event.key === "i" && !event.ctrlKey && !event.metaKey && !event.altKey) {
      this.openCard(this.focus);
    } else if (event.key === "Escape") {
      if (this.drag) this.cancel();
      else if (this.preview) { this.preview = null; this.anchor = null; this.paint(); }
      else this.leave();
    } else if ((event.key === "+" || event.key === "-") && this.zoomable()) {
      this.zoomBy(event.key === "+" ? 1 : -1);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  nameCard(place) {
    if (!this.isHead(place) || this.held) return;
    this.last = place;
    this.card.textContent = `Card of L${place.layer}H${place.column}`;
    this.card.setAttribute("aria-label", this.card.textContent);
    this.card.style.visibility = "visible";
  }

  leave() {
    this.box.getRootNode().activeElement?.blur();
  }

  // Put the focus on a place; its element is made where there is one for each, and borrowed where there is not.
  refocus(to) {
    this.moving = true;
    this.focus = to;
    this.nameCard(to);
    const node = this.node(to);
    for (const one of this.grid.querySelectorAll('[tabindex="0"]')) one.tabIndex = -1;
    node.tabIndex = 0;
    this.tell_name(node, to);
    node.focus({ preventScroll: true });
    this.moving = false;
    this.intoView(to);
    this.paint();
  }

  focused(event) {
    if (this.moving) return;
    const to = event.target.place;
    if (!to) return;
    this.focus = to;
    this.nameCard(to);
    this.intoView(to);
    this.paint();
    if (event.target.matches(":focus-visible")) this.showTip(to);
  }

  intoView({ layer, column }) {
    const { cw, ch } = this.place, view = this.window;
    if (layer >= 0) {
      const y = this.y(layer);
      if (y - TOP < view.scrollTop) view.scrollTop = y - TOP;
      if (y + ch > view.scrollTop + this.seen.h - BOTTOM) view.scrollTop = y + ch - this.seen.h + BOTTOM;
    }
    if (column >= 0) {
      const x = this.x(column);
      if (x - LEFT < view.scrollLeft) view.scrollLeft = x - LEFT;
      if (x + cw > view.scrollLeft + this.seen.w) view.scrollLeft = x + cw - this.seen.w + 2;
    }
    if (!this.drag && this.grid.matches(":focus-within") && !this.hover) this.showTip({ layer, column });
  }

  zoomBy(by) {
    const to = ZOOMS[Math.max(0, Math.min(ZOOMS.length - 1, ZOOMS.indexOf(this.zoom) + by))];
    if (to === this.zoom) return;
    const { scrollLeft, scrollTop } = this.window, grows = to / this.zoom;
    const [midX, midY] = [(this.seen.w - LEFT) / 2, (this.seen.h - TOP - BOTTOM) / 2];
    this.zoom = to;
    this.layout();
    this.window.scrollLeft = (scrollLeft + midX) * grows - midX;
    this.window.scrollTop = (scrollTop + midY) * grows - midY;
    this.paint();
  }

  // --- names: what a screen reader says ---------------------------------------------------------------------

  names() {
    this.grid.replaceChildren();
    this.drag = null;
    this.preview = null;
    this.focus = null;
    this.grid.setAttribute("aria-rowcount", this.layers + 1);
    this.grid.setAttribute("aria-colcount", this.columns + 1);
    this.named = this.layers * this.columns <= EACH_NAMED;
    this.cells = new Map();
    const row = (index) => {
      const made = element("div", "row", this.grid);
      made.setAttribute("role", "row");
      made.setAttribute("aria-rowindex", index);
      return made;
    };
    if (this.named) {
      for (let layer = this.layers - 1; layer >= -1; layer -= 1) {
        const here = row(this.layers - layer);
        for (let column = -1; column < this.columns; column += 1) this.cell(here, { layer, column });
      }
    } else {
      const here = row(1);
      this.spare = [this.cell(here, { layer: 0, column: 0 }), this.cell(here, { layer: 0, column: 0 })];
    }
    const first = this.named ? this.cells.get("0 0") : this.spare[0];
    first.tabIndex = 0;
  }

  cell(row, place) {
    const made = element("div", "cell", row);
    made.tabIndex = -1;
    made.place = place;
    this.cells.set(`${place.layer} ${place.column}`, made);
    return made;
  }

  node(place) {
    if (this.named) return this.cells.get(`${place.layer} ${place.column}`);
    this.turn = 1 - this.turn; // another element each time: its name is then said
    const node = this.spare[this.turn];
    node.place = place;
    this.placeNode(node);
    return node;
  }

  placeNames() {
    for (const node of this.grid.querySelectorAll(".cell")) this.placeNode(node);
  }

  placeNode(node) {
    const { layer, column } = node.place, { cw, ch } = this.place;
    Object.assign(node.style, {
      left: `${column < 0 ? 2 : this.x(column)}px`, top: `${layer < 0 ? this.place.tall - BOTTOM : this.y(layer)}px`,
      width: `${column < 0 ? LEFT - 4 : cw}px`, height: `${layer < 0 ? BOTTOM - 2 : ch}px` });
    this.tell_name(node, node.place);
  }

  tell_name(node, place) {
    const { layer, column } = place;
    const off = this.allOff(this.span(place)), said = this.says(place).join(", ");
    if (node.getAttribute("aria-label") !== said) node.setAttribute("aria-label", said);
    if (node.getAttribute("aria-selected") !== String(off)) node.setAttribute("aria-selected", String(off));
    node.setAttribute("aria-disabled", String(!this.count(this.span(place))));
    const role = layer < 0 && column >= 0 ? "columnheader" : column < 0 && layer >= 0 ? "rowheader" : "gridcell";
    if (node.getAttribute("role") !== role) node.setAttribute("role", role);
    node.setAttribute("aria-colindex", column + 2);
    if (!this.named) node.parentElement.setAttribute("aria-rowindex", this.layers - layer);
  }

  name({ layer, column }) {
    if (layer < 0 && column < 0) return "all heads";
    if (layer < 0) return column === this.heads ? "the FFNs of all layers" : `head ${column} of all layers`;
    if (column < 0) return `all heads of layer ${layer}`;
    return column === this.heads ? `L${layer} FFN` : `L${layer}H${column}`;
  }

  // Name, value, rank and what else is known of a place.
  words(place) {
    const { layer, column } = place, said = [this.name(place)];
    if (!this.count(this.span(place))) return [this.data.absent];
    if (layer < 0 || column < 0) return said;
    const { values, ranks, label, facts, number: kind } = this.data;
    if (values && (column < this.heads || values[layer].length > this.heads))
      said.push(`${label} ${number(values[layer][column], kind)}`);
    const rank = ranks?.[layer]?.[column];
    if (rank) said.push(`rank ${rank} of ${this.total}`);
    for (const fact of facts)
      if (column < fact.values[layer].length) said.push(`${fact.label} ${number(fact.values[layer][column], fact.number)}`);
    return said;
  }

  // The same, and whether it is off.
  says(place) {
    const span = this.span(place), said = this.words(place);
    if (!this.count(span)) return said;
    const alone = span.layers[0] === span.layers[1] && span.columns[0] === span.columns[1];
    const apart = alone && this.differs(span.layers[0], span.columns[0]);
    const off = this.allOff(span);
    return [...said, this.called(off) + (apart ? `, ${this.called(!off)} in ${this.data.other.name}` : "")];
  }

  called(off) { return off ? this.data.state : this.data.state === "off" ? "on" : `not ${this.data.state}`; }

  rename() {
    clearTimeout(this.naming);
    this.naming = setTimeout(() => {
      const { mask } = this;
      if (!this.box.isConnected || !mask) return;
      for (const node of this.grid.querySelectorAll(".cell")) this.tell_name(node, node.place);
      let heads = 0, ffns = 0;
      for (const row of mask) {
        for (let column = 0; column < this.heads; column += 1) heads += row[column];
        ffns += row[this.heads];
      }
      const said = this.held && !this.data.other && !heads && !ffns ? "" // nothing can be switched, and nothing is off
        : `${heads} of ${this.total} heads ${this.data.state}` +
        (this.data.ffns || ffns ? `, ${ffns} of ${this.layers} FFNs` : "");
      if (this.status.textContent !== said) this.status.textContent = said;
    }, 0);
  }

  showTip(place, event) {
    const lines = !this.drag ? this.says(place) : this.preview ? this.plan() : this.words(place);
    this.tip.replaceChildren();
    lines.forEach((line, i) => { element("div", i ? "" : "name", this.tip).textContent = line; });
    this.tip.hidden = false;
    const frame = this.box.getBoundingClientRect(), view = this.window.getBoundingClientRect();
    const x = event ? event.clientX - frame.left
      : view.left - frame.left - this.window.scrollLeft + (place.column < 0 ? LEFT : this.x(place.column) + this.place.cw);
    const y = event ? event.clientY - frame.top
      : view.top - frame.top - this.window.scrollTop + (place.layer < 0 ? this.place.tall : this.y(place.layer));
    const beside = x + 16 + this.tip.offsetWidth > this.width ? x - 14 - this.tip.offsetWidth : x + 16;
    this.tip.style.left = `${Math.max(0, beside)}px`;
    this.tip.style.top = `${Math.max(0, y - this.tip.offsetHeight - 8)}px`;
  }

  // What the hand would switch if it let go now.
  plan() {
    const { layers, columns, off } = this.preview;
    const many = this.count(this.preview), alone = layers[0] === layers[1] && columns[0] === columns[1];
    if (!many) return [this.data.absent];
    const to = this.called(off);
    const name = ([layer, column]) => this.name({ layer, column });
    return alone ? [`${name([layers[0], columns[0]])}: ${to}`]
      : [`${name([layers[0], columns[0]])} to ${name([layers[1], columns[1]])}`, `${many} cell${many === 1 ? "" : "s"}: ${to}`];
  }

  untip() { this.tip.hidden = true; }

  // --- painting ---------------------------------------------------------------------------------------------

  later() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.paint(); });
  }

  paint() {
    if (!this.place || !this.mask) return;
    const dots = window.devicePixelRatio || 1, { ctx } = this;
    ctx.setTransform(dots, 0, 0, dots, 0, 0);
    ctx.clearRect(0, 0, this.seen.w, this.seen.h);
    const pen = canvasPen(ctx), scroll = { x: this.window.scrollLeft, y: this.window.scrollTop };
    ctx.save();
    ctx.beginPath();
    ctx.rect(LEFT, this.seen.h < this.place.tall ? 0 : TOP - 2, this.seen.w - LEFT, this.seen.h - BOTTOM - (this.seen.h < this.place.tall ? 0 : TOP - 2) + 1);
    ctx.clip();
    ctx.translate(-scroll.x, -scroll.y);
    this.drawCells(pen, this.place, {
      left: scroll.x, right: scroll.x + this.seen.w, top: scroll.y, bottom: scroll.y + this.seen.h });
    this.drawMarks(pen);
    ctx.restore();
    this.drawHeadings(pen, this.place, this.seen, scroll);
    this.rename();
  }

  // Every cell that is painted as off, [layer, column].
  shown() {
    const found = [];
    for (let layer = 0; layer < this.layers; layer += 1)
      for (let column = 0; column < this.columns; column += 1) if (this.isOff(layer, column)) found.push([layer, column]);
    return found;
  }

  // How much of what a hand has done the server has not answered.
  unanswered() { return shared.log.filter(isOurs).length; }

  // The middle of a place in the window of the browser, which it is brought into.
  middle(place) {
    this.intoView(place);
    const frame = this.window.getBoundingClientRect(), { cw, ch } = this.place;
    const x = place.column < 0 ? LEFT / 2 : this.x(place.column) + cw / 2 - this.window.scrollLeft;
    const y = place.layer < 0 ? this.seen.h - BOTTOM + 10 : this.y(place.layer) + ch / 2 - this.window.scrollTop;
    return [frame.left + x, frame.top + y];
  }

  isOff(layer, column) {
    const { preview } = this;
    if (!this.exists(layer, column)) return false;
    if (preview && layer >= preview.layers[0] && layer <= preview.layers[1] && column >= preview.columns[0] &&
      column <= preview.columns[1]) return preview.off;
    return Boolean(this.mask[layer][column]);
  }

  drawCells(pen, place, view) {
    const { cw, ch } = place, gap = Math.min(cw, ch) >= 12 ? 1 : 0;
    const large = Math.min(cw, ch) >= 14;
    const marks = { "#101820": [], "#ffffff": [] }, hatches = { "#101820": [], "#ffffff": [] }, frames = [];
    const dashes = []; // where there is nothing
    const apart = []; // where the two masks differ
    for (let layer = 0; layer < this.layers; layer += 1) {
      const y = this.y(layer, place);
      if (y + ch < view.top || y > view.bottom) continue;
      for (let column = 0; column < this.columns; column += 1) {
        const x = this.x(column, place);
        if (x + cw < view.left || x > view.right) continue;
        pen.rect(x, y, cw - gap, ch - gap, this.fills[layer][column]);
        const w = cw - gap, h = ch - gap, cx = x + w / 2, cy = y + h / 2;
        if (!this.exists(layer, column)) dashes.push([cx - w / 6, cy, cx + w / 6, cy]);
        if (this.differs(layer, column)) apart.push([x, y, w, h]);
        if (!this.isOff(layer, column)) continue;
        const ink = this.inks[layer][column], reach = Math.min(w, h) * (large ? 0.24 : 0.36);
        marks[ink].push([cx - reach, cy - reach, cx + reach, cy + reach], [cx - reach, cy + reach, cx + reach, cy - reach]);
        if (large) {
          hatches[ink].push(...hatching(x, y, w, h));
          frames.push([x, y, w, h]);
        }
      }
    }
    pen.lines(dashes, this.soft(), 1);
    for (const ink of Object.keys(marks)) {
      const halo = ink === "#ffffff" ? "#101820" : "#ffffff";
      pen.lines(hatches[ink], ink, 1, 0.5);
      if (large) pen.lines(marks[ink], halo, 5, 0.85);
      else pen.lines(marks[ink], halo, 3, 0.6);
      pen.lines(marks[ink], ink, large ? 2.4 : 1.5);
    }
    for (const [x, y, w, h] of frames) pen.frame(x + 1, y + 1, w - 2, h - 2, ORANGE, 2);
    // Dark and light around each other, and a corner: seen on every colour, and without any.
    for (const [x, y, w, h] of apart) {
      pen.frame(x + 1.5, y + 1.5, w - 3, h - 3, "#ffffff", large ? 5 : 3);
      pen.frame(x + 1.5, y + 1.5, w - 3, h - 3, APART, large ? 3 : 1.5);
      if (large) pen.corner(x + w, y, Math.min(w, h) * 0.36, APART);
    }
  }

  drawMarks(pen) {
    const outline = (layers, columns, stroke, width, dash) => {
      const x = this.x(columns[0]), y = this.y(layers[1]);
      const right = this.x(columns[1]) + this.place.cw, bottom = this.y(layers[0]) + this.place.ch;
      pen.frame(x - 0.5, y - 0.5, right - x, bottom - y, stroke, width, dash);
    };
    if (this.hover && !this.drag) {
      const { layers, columns } = this.span(this.hover);
      outline(layers, columns, this.ink, 1.5);
    }
    if (this.preview && (this.drag || this.anchor)) outline(this.preview.layers, this.preview.columns, this.strong, 2.5, [5, 3]);
  }

  drawHeadings(pen, place, seen, scroll) {
    const { cw, ch } = place, size = 11;
    const everyLayer = Math.max(1, Math.ceil(14 / ch)), everyHead = Math.max(1, Math.ceil(String(this.heads).length * 8.5 / cw));
    const faint = this.soft();
    const high = seen.h - BOTTOM;
    pen.text("layer", 7, TOP + Math.min(place.tall, seen.h) / 2 - BOTTOM / 2, faint, size, "center", this.font, 400, true);
    pen.text("head", LEFT + (seen.w - LEFT) / 2, high + 27, faint, size, "center", this.font);
    for (let layer = 0; layer < this.layers; layer += 1) {
      const y = this.y(layer, place) + ch / 2 - scroll.y;
      const lit = this.hover?.layer === layer;
      if (y < (scroll.y ? 6 : TOP) || y > high - 2 || (layer % everyLayer && !lit)) continue;
      pen.text(String(layer), LEFT - 8, y, lit ? this.ink : faint, size, "right", this.font, lit ? 700 : 400);
    }
    for (let column = 0; column < this.columns; column += 1) {
      const x = this.x(column, place) + cw / 2 - scroll.x;
      const ffn = column === this.heads, lit = this.hover?.column === column;
      if (x < LEFT || x > seen.w || (column % everyHead && !ffn && !lit)) continue;
      if (ffn && cw < 22) pen.text("FFN", Math.min(x + 10, seen.w), high + 11, lit ? this.ink : faint, 10, "right", this.font);
      else pen.text(ffn ? "FFN" : String(column), x, high + 11, lit ? this.ink : faint, size, "center", this.font, lit ? 700 : 400);
    }
    const lit = this.hover && this.hover.layer < 0 && this.hover.column < 0;
    pen.text("all", LEFT - 8, high + 11, lit ? this.ink : faint, size, "right", this.font, lit ? 700 : 400);
  }

  soft() {
    const ground = rgb(this.paper), ink = rgb(this.ink);
    return css(ground.map((low, i) => Math.round(low + (ink[i] - low) * 0.72)));
  }

  // --- pictures ---------------------------------------------------------------------------------------------

  save(kind) {
    const place = this.geometry(Math.max(14, Math.min(this.base.cw, 46)), Math.max(14, this.base.ch));
    const above = 30 + (this.data.legend ? 46 : 0), w = Math.max(place.full, 380) + 16, h = place.tall + above + 8;
    const [preview, hover] = [this.preview, this.hover];
    this.preview = null;
    this.hover = null;
    const draw = (pen, shift) => {
      pen.rect(0, 0, w, h, this.paper);
      pen.text(this.data.title || this.data.label, 10, 17, this.ink, 13, "left", this.font, 600);
      if (this.data.legend) {
        pen.text(this.data.legend, 10, 42, this.soft(), 11, "left", this.font);
        if (this.data.ticks.length) {
          for (let i = 0; i < 60; i += 1) pen.rect(10 + i * 3.5, 50, 3.6, 8, css(between(this.stops, i / 59)));
          for (const [t, text] of this.data.ticks)
            pen.text(text, 10 + 0.21 * t, 66, this.soft(), 10, t < 60 ? "left" : t > 940 ? "right" : "center", this.font);
        }
      }
      const moved = shift(pen, 0, above);
      this.drawCells(moved, place, { left: 0, right: Infinity, top: 0, bottom: Infinity });
      this.drawHeadings(moved, place, { w: place.full, h: place.tall }, { x: 0, y: 0 });
    };
    if (kind === "svg") {
      const pen = svgPen();
      draw(pen, (one, dx, dy) => ({
        rect: (x, y, ...rest) => one.rect(x + dx, y + dy, ...rest),
        lines: (lines, ...rest) => one.lines(lines.map(([a, b, c, d]) => [a + dx, b + dy, c + dx, d + dy]), ...rest),
        frame: (x, y, ...rest) => one.frame(x + dx, y + dy, ...rest),
        corner: (x, y, ...rest) => one.corner(x + dx, y + dy, ...rest),
        text: (words, x, y, ...rest) => one.text(words, x + dx, y + dy, ...rest) }));
      this.deliver(new Blob([pen.file(w, h)], { type: "image/svg+xml" }), "svg");
    } else {
      const canvas = document.createElement("canvas");
      canvas.width = 2 * w;
      canvas.height = 2 * h;
      const ctx = canvas.getContext("2d");
      ctx.scale(2, 2);
      draw(canvasPen(ctx), (one, dx, dy) => { ctx.translate(dx, dy); return one; });
      canvas.toBlob((blob) => this.deliver(blob, "png"), "image/png");
    }
    [this.preview, this.hover] = [preview, hover];
  }

  deliver(blob, ending) {
    const link = element("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${this.data.file}.${ending}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
}

// --- Undo, Redo and Clear -----------------------------------------------------------------------------------

class Steps {
  constructor(parent) {
    this.box = element("div", "steps", parent);
    this.buttons = Object.entries({ undo: "undo", redo: "redo", clear: "backspace" }).map(([what, icon]) => {
      const button = element("button", "", this.box);
      button.type = "button";
      const picture = element("span", "icon", button);
      picture.textContent = icon;
      picture.setAttribute("aria-hidden", "true");
      const name = what[0].toUpperCase() + what.slice(1);
      element("span", "", button).textContent = name;
      button.setAttribute("aria-label", name); // without the picture, which is a word of its font
      button.addEventListener("click", () => step(this, what));
      return [what, button];
    });
  }

  update(data, say) { this.say = say; this.paint(); }

  // Not `disabled`: the focus stays where the last step was undone.
  paint() {
    for (const [what, button] of this.buttons) button.setAttribute("aria-disabled", String(!can(what)));
  }

  destroy() {
    shared.maps.delete(this);
    this.box.remove();
  }
}

// Diagonal lines across a rectangle, 5 pixels apart, ending at its edges.
function hatching(x, y, w, h) {
  const lines = [];
  for (let at = 4; at < w + h; at += 6) {
    lines.push([x + Math.max(0, at - h), y + Math.min(at, h), x + Math.min(at, w), y + Math.max(0, at - w)]);
  }
  return lines;
}

const made = new WeakMap(); // what a component is drawn into -> its map, and the last call that updated it

export default function (component) {
  const { data, parentElement, setStateValue, setTriggerValue } = component;
  let held = made.get(parentElement);
  if (!held) {
    held = { map: new (data.map ? HeadMap : data.plot ? Plot : Steps)(parentElement), call: null };
    made.set(parentElement, held);
    if (!data.map?.still) // what was told may be lost with a map
      shared.sent = shared.answer ? Math.min(shared.sent, shared.answer.seen) : 0;
  }
  const call = {};
  held.call = call;
  if (data.map?.still) {
    shared.maps.delete(held.map);
    shared.stills.add(held.map);
    held.map.update(data, () => {}, () => {});
  } else {
    listen();
    adopt(data.answer);
    shared.stills.delete(held.map);
    shared.maps.add(held.map);
    held.map.update(data, setStateValue, setTriggerValue);
    for (const other of [...shared.maps, ...shared.stills]) if (other !== held.map) other.paint();
    tell(false);
  }
  return () => {
    if (held.call !== call) return; // drawn anew since
    made.delete(parentElement);
    held.map.destroy();
  };
}
