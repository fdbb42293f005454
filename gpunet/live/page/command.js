// The command that gives the same plan in a terminal.

// text  of the net;  options  words behind it, as the server tells them
export function commandOf(text, options) {
  return ["gpunet", "plan", inWords(text), ...options].map(quoted).join(" ");
}

// A net as a word of a command: a pattern or a name as it is, TOML as a file.
function inWords(text) {
  const line = text.replace(/#[^\n]*/g, "").replace(/\s+/g, " ").trim();
  return /^[^=]*->|^[\w-]+$|^INPUT/.test(line) ? line : "net.toml";
}

function quoted(word) {
  return /[^\w.%+-]/.test(word) ? `'${word.replaceAll("'", "'\\''")}'` : word;
}
