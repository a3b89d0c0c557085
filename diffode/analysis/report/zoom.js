// Pictures that can be looked at closely: the wheel, dragging, a double click, keys and buttons change the viewBox of
// what is drawn between the axes; the axes get new ticks, so that text keeps its size. Without a script a picture stays
// as it is. A view is [left, top, width, height] in the picture's own units.
"use strict";
{
  const MOST = 16;
  const within = (x, low, high) => Math.min(Math.max(x, low), high);

  // a view brought back to where there is a picture
  function kept([left, top, width, height], whole) {
    const right = whole[0] + whole[2] - width, bottom = whole[1] + whole[3] - height;
    return [within(left, whole[0], right), within(top, whole[1], bottom), width, height];
  }

  // a view so many times closer, with a point that stays where it is
  function zoomed(view, whole, factor, x, y) {
    const width = within(view[2] / factor, whole[2] / MOST, whole[2]), by = width / view[2];
    return kept([x - (x - view[0]) * by, y - (y - view[1]) * by, width, view[3] * by], whole);
  }

  // a view moved by shares of its size
  function moved(view, whole, right, down) {
    return kept([view[0] + right * view[2], view[1] + down * view[3], view[2], view[3]], whole);
  }

  // round numbers between two bounds, with the digits that tell them apart
  function ticks(low, high, most = 6) {
    const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((n) => n * power >= rough * (1 - 1e-9));
    const places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), found = [];
    for (let n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9 * step; n++) {
      found.push([n * step, (n * step).toFixed(places).replace(/^-(0\.?0*)$/, "$1").replace("-", "−")]);
    }
    return found;
  }

  function element(name, attributes, inside) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    inside?.append(made);
    return made;
  }

  function zoomable(box) {
    const picture = box.querySelector("svg[data-zoom]");
    const [left, top, width, height, xLow, xHigh, yLow, yHigh] = picture.dataset.zoom.split(" ").map(Number);
    const whole = [left, top, width, height];
    const scales = [...picture.querySelectorAll('[id*="-xtick_"], [id*="-ytick_"]')];
    const clipped = [...picture.querySelectorAll("[clip-path]")];
    const drawn = clipped.filter((one) => !scales.some((tick) => tick.contains(one)));
    const lines = drawn.map((one) => [one, parseFloat(one.style.strokeWidth) || 0, one.style.strokeDasharray]);
    const grid = element("g", {}), pane = element("svg", { class: "pane", x: left, y: top, width, height });
    drawn[0].parentNode.before(grid, pane);
    for (const one of drawn) {
      one.removeAttribute("clip-path");
      pane.append(one);
    }
    let view = whole;

    // ticks like those of the picture, where they now belong
    function rule(letter, low, high, place) {
      const like = scales.find((one) => one.id.includes(`-${letter}tick_`));
      const [text, mark, line] = ["text", "use", "[clip-path]"].map((one) => like?.querySelector(one));
      if (!text || !mark || !line) return;
      const across = letter === "x", name = letter, style = line.getAttribute("style");
      const shift = Number(text.getAttribute(name)) - Number(mark.getAttribute(name));
      for (const [value, label] of ticks(low, high)) {
        const at = place(value), copy = text.cloneNode(), stroke = mark.cloneNode();
        const [x1, x2] = across ? [at, at] : [left, left + width], [y1, y2] = across ? [top, top + height] : [at, at];
        element("line", { x1, x2, y1, y2, style }, grid);
        stroke.setAttribute(name, at);
        copy.removeAttribute("transform");
        copy.setAttribute(name, at + shift);
        copy.textContent = label;
        grid.append(stroke, copy);
      }
    }

    function show(next) {
      view = next;
      const closer = width / view[2], near = closer > 1.0001;
      pane.setAttribute("viewBox", view.join(" "));
      for (const [one, size, dashes] of lines) {
        one.style.strokeWidth = size / closer;
        const lengths = dashes.match(/[\d.]+/g);
        if (lengths) one.style.strokeDasharray = lengths.map((length) => length / closer).join(" ");
      }
      grid.replaceChildren();
      for (const one of scales) one.style.display = near ? "none" : "";
      if (near) {
        const x = (at) => xLow + ((at - left) / width) * (xHigh - xLow);
        const y = (at) => yHigh - ((at - top) / height) * (yHigh - yLow);
        const ends = [x(view[0]), x(view[0] + view[2]), y(view[1] + view[3]), y(view[1])];
        rule("x", ends[0], ends[1], (value) => left + ((value - ends[0]) / (ends[1] - ends[0])) * width);
        rule("y", ends[2], ends[3], (value) => top + ((ends[3] - value) / (ends[3] - ends[2])) * height);
      }
      picture.style.cursor = near ? "grab" : "";
      picture.style.touchAction = near ? "none" : "";
      told.textContent = near ? `${closer.toFixed(1)}×` : "";
    }

    // where an event is, as a place of the picture
    function place(event) {
      const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
      return [view[0] + ((point.x - left) / width) * view[2], view[1] + ((point.y - top) / height) * view[3]];
    }

    const middle = () => [view[0] + view[2] / 2, view[1] + view[3] / 2];
    const closer = (factor, at = middle()) => show(zoomed(view, whole, factor, ...at));
    const go = (right, down) => show(moved(view, whole, right, down));

    const bar = document.createElement("div"), told = document.createElement("output");
    bar.className = "bar";
    const acts = { "+": "Zoom in", "-": "Zoom out", 0: "The whole picture" };
    const keys = {
      "+": () => closer(1.5), "=": () => closer(1.5), "-": () => closer(1 / 1.5), "_": () => closer(1 / 1.5),
      0: () => show(whole), ArrowLeft: () => go(-0.1, 0), ArrowRight: () => go(0.1, 0), ArrowUp: () => go(0, -0.1),
      ArrowDown: () => go(0, 0.1),
    };
    for (const key of ["+", "-", "0"]) {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: key.replace("-", "−"), title: acts[key] });
      button.setAttribute("aria-label", acts[key]);
      button.addEventListener("click", keys[key]);
      bar.append(button);
    }
    const hint = document.createElement("span");
    hint.textContent = "wheel, drag, double click; keys + − 0 and arrows";
    bar.append(told, hint);
    box.append(bar);
    Object.assign(box, { tabIndex: 0 });
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", "Picture that can be zoomed: plus, minus, 0 and the arrow keys");

    box.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
      if (event.key.startsWith("Arrow") && view[2] === width) return; // nowhere to go: the page scrolls
      event.preventDefault();
      keys[event.key]();
    });
    picture.addEventListener("wheel", (event) => {
      // a page that is being scrolled goes on, and so does one that is scrolled out of the whole picture
      if (view[2] === width && (event.deltaY > 0 || event.timeStamp - scrolled < 300)) return;
      event.preventDefault();
      closer(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), place(event));
    }, { passive: false });
    picture.addEventListener("dblclick", () => show(whole));
    let held = null;
    picture.addEventListener("pointerdown", (event) => {
      if (event.button || view[2] === width) return;
      held = place(event);
      picture.setPointerCapture(event.pointerId);
      picture.style.cursor = "grabbing";
    });
    picture.addEventListener("pointermove", (event) => {
      if (!held) return;
      const at = place(event);
      go((held[0] - at[0]) / view[2], (held[1] - at[1]) / view[3]);
    });
    for (const end of ["pointerup", "pointercancel"]) picture.addEventListener(end, () => {
      held = null;
      show(view);
    });
    show(whole);
  }

  let scrolled = -1e9;
  if (typeof document === "undefined") module.exports = { zoomed, moved, ticks, MOST };
  else {
    addEventListener("scroll", (event) => { scrolled = event.timeStamp; }, { passive: true });
    for (const box of document.querySelectorAll(".zoomable")) zoomable(box);
  }
}
