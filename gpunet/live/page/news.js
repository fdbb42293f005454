// What the training says of itself. A page that is hidden hears nothing, and costs nothing.

const AGAIN_MS = 1500;

export class News {
  constructor() {
    this.said = null;
    this.points = [];
    this.listeners = [];
    document.addEventListener("visibilitychange", () => (document.hidden ? this.end() : this.begin()));
  }

  listen(listener) {
    this.listeners.push(listener);
    if (this.said) listener(this.said, this.points);
  }

  begin() {
    if (this.source || this.said?.state === "closed" || document.hidden) return;
    const after = this.points.at(-1)?.[0] ?? 0;
    this.source = new EventSource(`news?began=${this.said?.began ?? 0}&after=${after}`);
    this.source.onmessage = ({ data }) => this.hear(JSON.parse(data));
    this.source.onerror = () => {
      this.end();
      setTimeout(() => this.begin(), AGAIN_MS);
      if (this.failed) this.lost();
      this.failed = true;
    };
  }

  end() {
    this.source?.close();
    this.source = null;
  }

  lost() {
    this.tell({ ...this.said, state: "closed" });
  }

  hear(said) {
    this.failed = false;
    this.points = said.began === this.said?.began ? this.points.concat(said.points) : said.points;
    this.tell(said);
    if (said.state === "closed") this.end();
  }

  tell(said) {
    this.said = said;
    for (const listener of this.listeners) listener(said, this.points);
  }
}
