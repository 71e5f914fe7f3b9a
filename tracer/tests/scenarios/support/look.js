// What is wrong with the way the page looks: a list of sentences, empty if nothing is; and a few
// facts that the test compares itself.
(() => {
  const wrong = [];
  const say = (what, element) => {
    const name = element.tagName.toLowerCase() + (element.id ? "#" + element.id : "")
      + (element.getAttribute("class") ? "." + element.getAttribute("class") : "");
    wrong.push(`${what}: ${name} "${(element.textContent || "").trim().slice(0, 40)}"`);
  };
  const wide = document.documentElement.clientWidth;
  const shown = (element) => element.checkVisibility({ visibilityProperty: true })
    && element.getClientRects().length > 0 && !element.closest(".unseen, .defs");
  const ownText = (element) => [...element.childNodes]
    .some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim() !== "");
  const meta = (element) => element.closest("svg title, svg desc, head");

  // Nothing sticks out, but in boxes that can be scrolled.
  if (document.documentElement.scrollWidth > wide) {
    wrong.push(`the page is ${document.documentElement.scrollWidth} wide in ${wide}`);
  }
  for (const element of document.body.querySelectorAll("*")) {
    if (!shown(element) || meta(element) || element.ownerSVGElement) continue;
    const box = element.getBoundingClientRect();
    const inside = element.closest(".scroll");
    if (box.width > 0 && (!inside || inside === element)
        && (box.right > wide + 0.5 || box.left < -0.5)) {
      say(`sticks out (${box.left.toFixed(1)} to ${box.right.toFixed(1)} of ${wide})`, element);
    }
    const style = getComputedStyle(element);
    const cuts = ["hidden", "clip"].includes(style.overflowX) || ["hidden", "clip"].includes(style.overflowY);
    if (cuts && ownText(element)
        && (element.scrollWidth > element.clientWidth + 1 || element.scrollHeight > element.clientHeight + 1)) {
      say("is cut", element);
    }
    if (ownText(element) && (box.width < 1 || box.height < 8)) say("has no room", element);
  }

  // Pictures: everything drawn has a size, no text is cut or covers another.
  for (const svg of document.querySelectorAll("svg")) {
    if (!shown(svg) || svg.closest(".defs")) continue;
    const frame = svg.getBoundingClientRect();
    if (frame.width < 1 || frame.height < 1) say("has no size", svg);
    for (const drawn of svg.querySelectorAll("rect, line, path")) {
      const box = drawn.getBoundingClientRect();
      const flat = drawn.tagName === "line" || drawn.tagName === "path";
      const good = flat ? box.width + box.height > 0 : box.width > 0 && box.height > 0;
      if (!good && shown(drawn)) say("draws nothing", drawn);
    }
    const texts = [...svg.querySelectorAll("text")].filter(shown)
      .map((text) => [text, text.getBoundingClientRect()]);
    for (const [n, [text, box]] of texts.entries()) {
      if (box.width < 1 || box.left < frame.left - 1 || box.right > frame.right + 1
          || box.top < frame.top - 1 || box.bottom > frame.bottom + 1) {
        say("is cut", text);
      }
      for (const [other, its] of texts.slice(n + 1)) {
        if (box.left < its.right && its.left < box.right && box.top < its.bottom && its.top < box.bottom) {
          say(`covers "${other.textContent}"`, text);
        }
      }
    }
  }

  // Contrast, as WCAG 2 reckons it.
  const parse = (color) => {
    const parts = color.match(/[\d.]+/g).map(Number);
    return { rgb: parts.slice(0, 3), alpha: parts.length > 3 ? parts[3] : 1 };
  };
  const mixed = (front, back) => front.rgb.map((c, n) => c * front.alpha + back[n] * (1 - front.alpha));
  const ground = (element) => {
    const stack = [];
    for (let at = element; at; at = at.parentElement) {
      stack.push(parse(getComputedStyle(at).backgroundColor));
      if (stack.at(-1).alpha === 1) break;
    }
    return stack.reverse().reduce((below, color) => mixed(color, below), [255, 255, 255]);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((c) => {
      const s = c / 255;
      return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const opacity = (element) => {
    let all = 1;
    for (let at = element; at; at = at.parentElement) all *= Number(getComputedStyle(at).opacity);
    return all;
  };
  let least = Infinity;
  let texts = 0;
  for (const element of document.body.querySelectorAll("*")) {
    if (!ownText(element) || !shown(element) || meta(element) || element.tagName === "STYLE") continue;
    const style = getComputedStyle(element);
    const front = parse(element.ownerSVGElement ? style.fill : style.color);
    front.alpha *= opacity(element);
    const back = ground(element.ownerSVGElement ? element.ownerSVGElement : element);
    const [dark, bright] = [light(mixed(front, back)), light(back)].sort((a, b) => a - b);
    const contrast = (bright + 0.05) / (dark + 0.05);
    least = Math.min(least, contrast);
    texts += 1;
    if (contrast < 4.5) say(`contrast ${contrast.toFixed(2)}`, element);
  }

  // What assistive technology needs.
  for (const svg of document.querySelectorAll("svg:not([aria-hidden])")) {
    if (svg.ownerSVGElement) continue;
    const title = svg.querySelector(":scope > title");
    if (svg.getAttribute("role") !== "img" || !title || !title.textContent.trim()) say("has no title", svg);
  }
  for (const table of document.querySelectorAll("table")) {
    if (!table.querySelector("thead th[scope]")) say("has no headers", table);
  }
  return {
    wrong: wrong.slice(0, 40),
    background: getComputedStyle(document.body).backgroundColor,
    least, texts,
    drawn: [...document.querySelectorAll("svg rect")].length,
    height: document.documentElement.scrollHeight,
  };
})()
