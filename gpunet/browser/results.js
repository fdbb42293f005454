// What the net takes the picture for: its classes with bars.

const ALL = 12; // up to so many classes keep their places; of more, the most probable ones are shown
const MOST = 10;

export class Results {
  constructor(list, classes) {
    this.list = list;
    this.classes = classes;
    this.rows = Array.from({ length: Math.min(classes.length, classes.length <= ALL ? ALL : MOST) }, () => row(list));
    this.show(null);
  }

  // chances  of each class; null: nothing is known yet
  show(chances) {
    const order = this.classes.map((_, label) => label);
    const first = chances && first_of(chances);
    if (chances && this.classes.length > ALL) order.sort((a, b) => chances[b] - chances[a] || a - b);
    this.list.classList.toggle("empty", !chances);
    this.list.classList.remove("stale");
    this.rows.forEach(({ item, name, bar, number }, place) => {
      const label = order[place], chance = chances ? chances[label] : 0;
      item.classList.toggle("first", label === first);
      name.textContent = name.title = this.classes[label];
      bar.style.inlineSize = `${100 * chance}%`;
      number.textContent = chances ? percent(chance) : "";
    });
    return first === null ? "" : `${this.classes[first]} · ${percent(chances[first])}`;
  }
}

export function percent(chance) {
  return `${(100 * chance).toFixed(chance < 0.9995 && chance >= 0.00005 ? 2 : 0)} %`;
}

function first_of(chances) {
  return chances.indexOf(chances.reduce((a, b) => Math.max(a, b)));
}

function row(list) {
  const make = (kind, name, parent) => {
    const made = parent.appendChild(document.createElement(kind));
    made.className = name;
    return made;
  };
  const item = make("li", "", list);
  const name = make("span", "name", item);
  const track = make("span", "track", item);
  return { item, name, bar: make("span", "bar", track), number: make("span", "number", item) };
}
