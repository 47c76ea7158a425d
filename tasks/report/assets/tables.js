// Tables of class "sortable" sort by the column whose heading is clicked.
"use strict";

for (const table of document.querySelectorAll("table.sortable")) {
  table.tHead.addEventListener("click", (event) => {
    const heading = event.target.closest("th");
    const place = heading.cellIndex, down = heading.dataset.down !== "1";
    heading.dataset.down = down ? "1" : "0";
    const value = (row) => row.cells[place].dataset.order ?? row.cells[place].textContent;
    const compare = new Intl.Collator("en", { numeric: true }).compare;
    const number = (text) => (text.trim() === "" ? NaN : Number(text));
    const order = (a, b) => (isNaN(number(a)) || isNaN(number(b)) ? compare(a, b) : number(a) - number(b));
    const rows = [...table.tBodies[0].rows].sort((a, b) => order(value(a), value(b)) * (down ? 1 : -1));
    table.tBodies[0].append(...rows);
  });
}
