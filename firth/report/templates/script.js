"use strict";
// Hovering or touching a chart shows its values; without this script each place still has its native title.
(() => {
  const tip = document.getElementById("tip");
  const colour = (style) => getComputedStyle(document.documentElement).getPropertyValue("--s" + style);

  const fill = (place) => {
    tip.replaceChildren();
    tip.appendChild(document.createElement("b")).textContent = place.dataset.head;
    for (const [style, name, value] of JSON.parse(place.dataset.values)) {
      const row = tip.appendChild(document.createElement("div"));
      const left = row.appendChild(document.createElement("span"));
      left.appendChild(document.createElement("i")).style.background = colour(style);
      left.append(name);
      row.appendChild(document.createElement("span")).textContent = value;
    }
  };

  const move = (event) => {
    const gap = 14, box = tip.getBoundingClientRect();
    const right = event.clientX + gap + box.width > innerWidth;
    tip.style.left = Math.max(4, right ? event.clientX - gap - box.width : event.clientX + gap) + "px";
    tip.style.top = Math.max(4, Math.min(event.clientY + gap, innerHeight - box.height - 4)) + "px";
  };

  let shown = null;
  const show = (event) => {
    const place = event.target.closest ? event.target.closest(".column, .row") : null;
    if (place !== shown) {
      if (shown) shown.classList.remove("on");
      shown = place;
      tip.hidden = !place;
      if (place) { place.classList.add("on"); fill(place); }
    }
    if (place) move(event);
  };

  for (const title of document.querySelectorAll(".column title, .row title")) title.remove();
  document.addEventListener("pointermove", show);
  document.addEventListener("pointerdown", show);
})();
