// The page's side of the worker: brings it the weights, and pictures one at a time; of those that come while it is busy
// the last is kept.

export class Session {
  // hear  {loading(share), ready(), running(share), seen(image), predicted(chances, ms, name), failed(words)}
  constructor(net, source, hear) {
    this.hear = hear;
    this.worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    this.worker.onmessage = ({ data }) => this.told(data);
    this.worker.onerror = (event) => hear.failed(`this browser cannot run the net: ${event.message}`);
    this.worker.postMessage({ kind: "begin", net });
    this.pieces = []; // of the weights, that are still in the page
    this.whole = false; // whether the worker was told that it has them all
    this.ready = false;
    this.asked = null; // what the worker is at
    this.next = null; // what comes after that
    this.count = 0;
  }

  // Hands the pieces of the weights over, taking each out of the page, so that memory holds them once: two are under
  // way, and the next one goes when one has arrived.
  bring(pieces) {
    this.pieces = [...pieces];
    this.hand();
    this.hand();
  }

  hand() {
    const piece = this.pieces.shift();
    if (!piece && this.whole) return;
    this.whole = !piece;
    this.worker.postMessage(piece ? { kind: "weights", text: piece.textContent } : { kind: "whole" });
    piece?.remove();
  }

  // picture  {name, file} or {name, pixels: {data, width, height}}
  predict(picture) {
    this.next = picture;
    this.advance();
  }

  get busy() {
    return this.asked !== null;
  }

  advance() {
    if (!this.ready || this.asked || !this.next) return;
    this.asked = this.next;
    this.next = null;
    this.worker.postMessage({ kind: "predict", id: ++this.count, ...this.asked });
  }

  told(data) {
    if (data.kind === "loading") this.hear.loading(data.share);
    if (data.kind === "loading") this.hand();
    if (data.kind === "running") this.hear.running(data.share);
    if (data.kind === "seen") this.hear.seen(data.image);
    if (data.kind === "ready") this.ready = true;
    if (data.kind === "ready") this.hear.ready();
    if (data.kind === "predicted") this.hear.predicted(data.chances, data.ms, this.asked.name);
    if (data.kind === "failed") this.hear.failed(data.words);
    if (data.kind === "predicted" || data.kind === "failed") this.asked = null;
    this.advance();
  }
}
