// A chart whose marks are heads or FFNs, switched like the cells of a map: bars by layer, or dots. Drawn as SVG; its
// clicks go the way of the map's (map.js, in whose scope this stands), so that none is lost.

const BLUE = "#3d8fd1", GREY = "#8593a3"; // as in charts/style.py
const REACH = 14; // pixels from a dot's middle within which a hand means it
const FOOT = 46, SIDE = { bars: 40, dots: 62 }, DOTS_HEIGHT = 380; // pixels: axis below, axis at the left
const SVG = "http://www.w3.org/2000/svg";

function drawn(kind, attributes, parent) {
  const node = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  parent?.append(node);
  return node;
}

class Plot {
  constructor(parent) {
    this.box = element("div", "plot", parent);
    this.box.headPlot = this; // for whoever looks from outside, as with a map
    this.svg = drawn("svg", { role: "group" }, this.box);
    this.ground = drawn("g", { "aria-hidden": "true" }, this.svg);
    this.front = drawn("g", {}, this.svg);
    this.legend = element("div", "legend", this.box);
    this.tip = element("div", "tip", this.box);
    this.tip.hidden = true;
    this.nodes = new Map(); // "layer column" -> what is drawn for it
    const on = (kind, what) => this.svg.addEventListener(kind, what);
    on("pointerdown", (event) => event.preventDefault()); // no text is selected; a second click is no word
    on("click", (event) => this.click(this.at(event)));
    on("pointermove", (event) => this.over(this.at(event), event));
    on("pointerleave", () => this.over(null));
    on("contextmenu", (event) => {
      const mark = this.at(event);
      if (!mark || mark.head < 0) return;
      event.preventDefault();
      this.openCard(mark);
    });
    on("keydown", (event) => this.key(event));
    on("focusin", (event) => this.over(event.target.mark ?? null));
    on("focusout", () => this.over(null));
    this.watch = new ResizeObserver(() => {
      if (Math.round(this.box.clientWidth) !== this.width) this.layout();
    });
    this.watch.observe(this.box);
  }

  destroy() {
    this.watch.disconnect();
    shared.maps.delete(this);
    this.box.remove();
  }

  update(data, say, ask) {
    [this.say, this.ask] = [say, ask];
    this.data = data.plot;
    const style = getComputedStyle(this.box);
    const colours = style.getPropertyValue("--st-chart-sequential-colors").trim() || "#b9d3ea,#08305e";
    const stops = colours.split(/,(?![^(]*\))/).map(rgb);
    if (colours !== this.colours) for (const { group } of this.nodes.values()) group.said = null; // another theme
    this.colours = colours;
    this.colour = (layer) => css(between(stops, 0.25 + 0.75 * layer / Math.max(1, this.data.layers - 1)));
    this.svg.setAttribute("aria-label", this.data.alt);
    this.layout();
  }

  // A mark's column in the mask: of an FFN the last.
  column(mark) { return mark.head < 0 ? shared.answer.off[0].length - 1 : mark.head; }

  isOff(mark) { return Boolean(shared.mask[mark.layer]?.[this.column(mark)]); }

  click(mark) {
    if (!mark) return;
    const column = this.column(mark);
    gesture(this, { off: !this.isOff(mark), layers: [mark.layer, mark.layer], columns: [column, column] });
    const { group } = this.nodes.get(`${mark.layer} ${mark.head}`);
    this.rove(group);
    group.focus({ preventScroll: true });
    this.over(mark);
  }

  openCard(mark) {
    if (mark.head < 0) return; // FFNs have none
    tell(true);
    this.ask("card", mark.name);
  }

  // --- where things are ---------------------------------------------------------------------------------------

  layout() {
    this.width = Math.round(this.box.clientWidth);
    if (!this.width || !this.data) return;
    const { kind, layers } = this.data;
    this.step = Math.max(LOWEST, Math.min(HIGHEST, HEIGHT / layers));
    this.tall = kind === "bars" ? Math.round(this.step * layers) : DOTS_HEIGHT - FOOT;
    this.left = SIDE[kind];
    this.wide = this.width - this.left - 14;
    for (const [name, value] of [["width", this.width], ["height", this.tall + TOP + FOOT]]) this.svg.setAttribute(name, value);
    this.axes();
    const kept = new Set();
    for (const mark of this.data.marks) kept.add(this.draw(mark));
    for (const [key, { group }] of this.nodes) if (!kept.has(key)) { group.remove(); this.nodes.delete(key); }
    const groups = [...this.nodes.values()].map((one) => one.group);
    if (!groups.some((one) => one.tabIndex === 0)) groups[0]?.setAttribute("tabindex", "0");
    this.drawLegend();
    this.paint();
  }

  x(value) {
    const [low, high] = this.data.x.domain;
    return this.left + this.wide * (value - low) / (high - low);
  }

  y(mark) {
    if (this.data.kind === "bars") return TOP + (this.data.layers - mark.layer - 0.5) * this.step;
    const [low, high] = this.data.y.domain;
    return TOP + this.tall * (1 - (mark.y - low) / (high - low));
  }

  axes() {
    this.ground.replaceChildren();
    const { kind, layers, x, y } = this.data, low = TOP + this.tall;
    const line = (x1, y1, x2, y2, name = "rule") => drawn("line", { x1, y1, x2, y2, class: name }, this.ground);
    const text = (words, at, height, anchor, more = {}) => {
      drawn("text", { x: at, y: height, "text-anchor": anchor, ...more }, this.ground).textContent = words;
    };
    for (const [value, label] of x.ticks) {
      line(this.x(value), TOP, this.x(value), low, value === 0 && kind === "bars" ? "zero" : "rule");
      text(label, this.x(value), low + 15, "middle");
    }
    text(x.title, this.left + this.wide / 2, low + 36, "middle", { class: "title" });
    const upright = (words) => text(words, 0, 0, "middle", { class: "title", transform: `translate(12 ${TOP + this.tall / 2}) rotate(-90)` });
    if (kind === "bars") {
      const every = Math.max(1, Math.ceil(13 / this.step));
      for (let layer = 0; layer < layers; layer += every) text(layer, this.left - 8, this.y({ layer }) + 4, "end");
      upright("layer");
    } else {
      for (const [value, label] of y.ticks) {
        const at = this.y({ y: value });
        line(this.left, at, this.left + this.wide, at);
        text(label, this.left - 6, at + 4, "end");
      }
      upright(y.title);
    }
  }

  draw(mark) {
    const key = `${mark.layer} ${mark.head}`;
    let node = this.nodes.get(key);
    if (!node) {
      const group = drawn("g", { role: "checkbox", tabindex: "-1", class: "mark" }, this.front);
      node = { group, parts: {} };
      for (const [name, kind] of this.data.kind === "bars"
        ? [["row", "rect"], ["bar", "rect"], ["whisker", "line"], ["halo", "path"], ["cross", "path"]] : [["dot", "circle"]])
        node.parts[name] = drawn(kind, { class: name }, group);
      this.nodes.set(key, node);
    }
    node.group.mark = mark;
    node.mark = mark;
    const set = (part, attributes) => {
      for (const [name, value] of Object.entries(attributes)) node.parts[part].setAttribute(name, value);
    };
    const x = this.x(mark.x), y = this.y(mark);
    if (this.data.kind === "bars") {
      const zero = this.x(0), high = this.step * 0.75, size = Math.min(6, this.step / 3);
      set("row", { x: this.left, y: y - this.step / 2, width: this.wide, height: this.step });
      set("bar", { x: Math.min(zero, x), y: y - high / 2, width: Math.abs(x - zero), height: high, rx: 2,
        fill: mark.x < 0 ? ORANGE : BLUE, opacity: mark.low <= 0 && mark.high >= 0 ? 0.45 : 0.95 });
      set("whisker", { x1: this.x(mark.low), x2: this.x(mark.high), y1: y, y2: y });
      for (const part of ["halo", "cross"])
        set(part, { d: `M${zero - size} ${y - size}l${2 * size} ${2 * size}m${-2 * size} 0l${2 * size} ${-2 * size}` });
    } else set("dot", { cx: x, cy: y });
    return key;
  }

  drawLegend() {
    this.legend.replaceChildren();
    if (this.data.kind === "bars") return;
    element("span", "title", this.legend).textContent = "layer";
    const scale = element("span", "scale", this.legend), last = this.data.layers - 1;
    const stops = Array.from({ length: 11 }, (_, i) => this.colour(i * last / 10));
    element("span", "gradient", scale).style.background = `linear-gradient(to right, ${stops.join(",")})`;
    for (const [at, layer] of [[0, 0], [100, last]]) {
      const tick = element("span", "tick", scale);
      tick.textContent = layer;
      tick.style.left = `${at}%`;
    }
  }

  // What a hand at a point means: the bar of the line it is on, the nearest dot.
  at(event) {
    const frame = this.svg.getBoundingClientRect();
    const x = event.clientX - frame.left, y = event.clientY - frame.top;
    if (this.data.kind === "bars") {
      const layer = this.data.layers - 1 - Math.floor((y - TOP) / this.step);
      return x < 0 || y < TOP || y > TOP + this.tall ? null : this.data.marks.find((mark) => mark.layer === layer) ?? null;
    }
    const far = (mark) => Math.hypot(this.x(mark.x) - x, this.y(mark) - y);
    const nearest = this.data.marks.reduce((best, mark) => (!best || far(mark) < far(best) ? mark : best), null);
    return nearest && far(nearest) <= REACH ? nearest : null;
  }

  // The middle of a mark in the window of the browser, which it is brought into.
  middle(layer, head) {
    const { group, mark } = this.nodes.get(`${layer} ${head}`);
    group.scrollIntoView({ block: "nearest", behavior: "instant" });
    const frame = this.svg.getBoundingClientRect();
    return [frame.left + this.x(this.data.kind === "bars" ? 0 : mark.x), frame.top + this.y(mark)];
  }

  // --- what it shows and says -----------------------------------------------------------------------------------

  paint() {
    if (!this.width || !shared.mask) return;
    const many = this.data.marks.length >= 400;
    for (const { group, parts, mark } of this.nodes.values()) {
      const off = this.isOff(mark);
      if (group.isOff === off && group.said === mark) continue;
      Object.assign(group, { isOff: off, said: mark });
      group.classList.toggle("off", off);
      group.setAttribute("aria-checked", String(off));
      group.setAttribute("aria-label", this.words(mark).join(", "));
      if (parts.dot) {
        parts.dot.setAttribute("r", off ? 8 : many ? 3.3 : 5.3);
        parts.dot.setAttribute("fill", off ? ORANGE : this.colour(mark.layer));
      }
    }
    if (this.told) this.over(this.told, this.from);
  }

  // Every mark that is painted as off, [layer, head].
  shown() {
    return [...this.nodes.values()].filter(({ group }) => group.isOff).map(({ mark }) => [mark.layer, mark.head]);
  }

  words(mark) { return [mark.name, ...mark.facts, this.isOff(mark) ? "chosen" : "not chosen"]; }

  over(mark, event = null) {
    this.told = mark;
    this.from = event;
    this.svg.style.cursor = mark ? "pointer" : "default";
    this.tip.hidden = !mark;
    if (!mark) return;
    this.tip.replaceChildren();
    this.words(mark).forEach((line, i) => { element("div", i ? "" : "name", this.tip).textContent = line; });
    const frame = this.svg.getBoundingClientRect();
    const x = event ? event.clientX - frame.left : this.x(mark.x), y = event ? event.clientY - frame.top : this.y(mark);
    const beside = x + 16 + this.tip.offsetWidth > this.width ? x - 14 - this.tip.offsetWidth : x + 16;
    this.tip.style.left = `${Math.max(0, beside)}px`;
    this.tip.style.top = `${Math.max(0, y - this.tip.offsetHeight - 8)}px`;
  }

  // Arrows go from mark to mark: up the layers, or along x.
  key(event) {
    const here = event.target.mark;
    if (!here) return;
    const by = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 }[event.key];
    if (by) {
      const order = this.data.kind === "bars" ? (mark) => mark.layer : (mark) => mark.x;
      const all = [...this.data.marks].sort((a, b) => order(a) - order(b));
      const next = all[Math.max(0, Math.min(all.length - 1, all.indexOf(here) + by))];
      const { group } = this.nodes.get(`${next.layer} ${next.head}`);
      this.rove(group);
      group.focus();
    } else if ((event.key === " " || event.key === "Enter") && !event.repeat) this.click(here);
    else if (event.key === "i" && !event.ctrlKey && !event.metaKey && !event.altKey) this.openCard(here);
    else if (event.key === "Escape") event.target.blur();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  rove(to) {
    for (const { group } of this.nodes.values()) group.setAttribute("tabindex", group === to ? "0" : "-1");
  }
}

