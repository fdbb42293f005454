// Questions to the server, whose addresses are relative to the page's own, which has the token.

export class Mistake extends Error {}

export async function ask(where, asked, options = {}) {
  const answer = await send(where, JSON.stringify(asked), options);
  return answer.json();
}

// Each part of an answer as it comes, a line of JSON each.
export async function* parts(where, asked, options = {}) {
  const answer = await send(where, JSON.stringify(asked), options);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const part = JSON.parse(line);
      if (part.stage === "error") throw new Mistake(part.words);
      yield part;
    }
  }
}

export async function send(where, body, options = {}) {
  const answer = await fetch(where, { method: "POST", body, ...options });
  if (answer.headers.has("x-mistake")) throw new Mistake((await answer.json()).words);
  if (!answer.ok) throw new Mistake(`the server says ${answer.status}; load the page again`);
  return answer;
}

// What went wrong, in words; "" where it was only that something newer was asked.
export function words(error) {
  if (error.name === "AbortError") return "";
  if (error instanceof Mistake) return error.message;
  return "the server does not answer; is gpunet live still running?";
}

// Runs the newest of what it is given: what runs before is told to end.
export class Newest {
  run(work) {
    this.end?.abort();
    this.end = new AbortController();
    return work(this.end.signal);
  }
}
