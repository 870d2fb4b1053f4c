"use strict";
const tip = document.getElementById("tip");

function tell(element, x, y) {
  tip.textContent = element.dataset.tip;
  tip.hidden = false;
  const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
  tip.style.left = `${Math.max(8, Math.min(x + 14, room))}px`;
  tip.style.top = `${y > tip.offsetHeight + 24 ? y - tip.offsetHeight - 14 : y + 20}px`;
}

function lightUp(key) {
  document.body.classList.toggle("lit", Boolean(key));
  for (const one of document.querySelectorAll("[data-key]")) one.classList.toggle("on", one.dataset.key === key);
}

document.addEventListener("pointerover", (event) => {
  const told = event.target.closest("[data-tip]");
  lightUp(event.target.closest("[data-key]")?.dataset.key);
  if (told) tell(told, event.clientX, event.clientY);
  else tip.hidden = true;
});

// In a picture that has the focus the arrow keys go from mark to mark, and Escape ends it.
document.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const picture = document.activeElement.closest("svg[tabindex]");
  if (event.key === "Escape") { tip.hidden = true; lightUp(); }
  if (!picture || !step) return;
  const marks = [...picture.querySelectorAll("[data-tip]")];
  if (!marks.length) return;
  event.preventDefault();
  const at = marks.findIndex((mark) => mark.classList.contains("at"));
  const next = marks[at < 0 ? (step > 0 ? 0 : marks.length - 1) : (at + step + marks.length) % marks.length];
  marks[at]?.classList.remove("at");
  next.classList.add("at");
  const box = next.getBoundingClientRect();
  lightUp(next.dataset.key);
  tell(next, box.left + box.width / 2, box.top);
});

function value(row, column) {
  const sort = row.cells[column].dataset.sort;
  if (sort === undefined) return null;
  return sort.trim() === "" || Number.isNaN(Number(sort)) ? sort.toLowerCase() : Number(sort);
}

function compare(a, b) {
  if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
  return typeof a === "number" ? -1 : 1;
}

// The first click puts the largest numbers first, and names in the order of the alphabet; what is not known comes last.
for (const button of document.querySelectorAll(".sortable th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, column = head.cellIndex, body = head.closest("table").tBodies[0];
    const rows = [...body.rows].map((row) => [value(row, column), row]);
    const numbers = rows.some(([of]) => typeof of === "number");
    const now = head.getAttribute("aria-sort");
    const order = now === "none" ? (numbers ? "descending" : "ascending") : now === "descending" ? "ascending" : "descending";
    for (const other of head.parentElement.cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    rows.sort(([a], [b]) => (a === null ? (b === null ? 0 : 1) : b === null ? -1 : sign * compare(a, b)));
    body.append(...rows.map(([, row]) => row));
  });
}

const sections = document.querySelector("nav");
for (const section of document.querySelectorAll("main > section")) {
  const link = document.createElement("a");
  link.href = `#${section.id}`;
  link.textContent = section.querySelector("h2").textContent;
  sections.append(link, " ");
}

window.addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details")) one.open = true; });
