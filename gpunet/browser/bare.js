// A picture file without what it says of colour profiles and of which way is up: browsers heed these, `gpunet predict`
// heeds only the latter, and both take the pixels as they lie. Sources: JPEG (ITU-T T.81, annex B), PNG (W3C, section 5),
// WebP (RFC 9649), EXIF 2.3.

const ORIENTATION = 0x0112;

// {bytes, orientation, jpeg} of a file's bytes; what is none of the three formats stays as it is. `jpeg` is null for all
// but JPEG, there {halved}: whether colours have half the rows and columns of brightness (4:2:0).
export function bare(bytes) {
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return bareJpeg(bytes);
  if (ascii(bytes, 1, 3) === "PNG") return barePng(bytes);
  if (ascii(bytes, 0, 4) === "RIFF" && ascii(bytes, 8, 4) === "WEBP") return bareWebp(bytes);
  return { bytes, orientation: 1, jpeg: null };
}

function bareJpeg(bytes) {
  const kept = [bytes.subarray(0, 2)];
  let orientation = 1, halved = false, place = 2;
  while (place + 4 <= bytes.length && bytes[place] === 0xff && bytes[place + 1] !== 0xda) {
    const marker = bytes[place + 1], end = place + 2 + ((bytes[place + 2] << 8) | bytes[place + 3]);
    const exif = marker === 0xe1 && ascii(bytes, place + 4, 4) === "Exif";
    if (exif) orientation = orientationIn(bytes.subarray(place + 10, end));
    const frame = marker >= 0xc0 && marker <= 0xc2;
    if (frame) halved = bytes[place + 9] === 3 && bytes[place + 11] === 0x22 && bytes[place + 14] === 0x11;
    if (!exif && marker !== 0xe2) kept.push(bytes.subarray(place, end)); // 0xe2 holds colour profiles
    place = end;
  }
  return { bytes: joined([...kept, bytes.subarray(place)]), orientation, jpeg: { halved } };
}

function barePng(bytes) {
  const colour = new Set(["iCCP", "gAMA", "cHRM", "sRGB", "cICP", "eXIf"]);
  const kept = [bytes.subarray(0, 8)];
  let orientation = 1, seenPixels = false, place = 8;
  while (place + 12 <= bytes.length) {
    const kind = ascii(bytes, place + 4, 4), size = new DataView(bytes.buffer, bytes.byteOffset + place).getUint32(0);
    const end = place + 12 + size;
    seenPixels ||= kind === "IDAT";
    if (kind === "eXIf" && !seenPixels) orientation = orientationIn(bytes.subarray(place + 8, end - 4));
    if (!colour.has(kind)) kept.push(bytes.subarray(place, end));
    place = end;
  }
  return { bytes: joined(kept), orientation, jpeg: null };
}

function bareWebp(bytes) {
  const kept = [bytes.slice(0, 12)];
  let orientation = 1, place = 12;
  while (place + 8 <= bytes.length) {
    const kind = ascii(bytes, place, 4), size = new DataView(bytes.buffer, bytes.byteOffset + place).getUint32(4, true);
    const end = place + 8 + size + (size % 2);
    if (kind === "EXIF") {
      const start = place + 8 + (ascii(bytes, place + 8, 4) === "Exif" ? 6 : 0);
      orientation = orientationIn(bytes.subarray(start, end));
    }
    const chunk = bytes.slice(place, end);
    if (kind === "VP8X") chunk[8] &= ~0x28; // there is neither profile nor EXIF any more
    if (kind !== "EXIF" && kind !== "ICCP") kept.push(chunk);
    place = end;
  }
  const out = joined(kept);
  new DataView(out.buffer).setUint32(4, out.length - 8, true);
  return { bytes: out, orientation, jpeg: null };
}

// From 1, upright, to 8, of a block of EXIF; one that cannot be read says nothing.
function orientationIn(block) {
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
  const little = ascii(block, 0, 2) === "II";
  try {
    const directory = view.getUint32(4, little), entries = view.getUint16(directory, little);
    for (let n = 0; n < entries; n++) {
      const entry = directory + 2 + 12 * n;
      if (view.getUint16(entry, little) !== ORIENTATION) continue;
      const found = view.getUint16(entry + 8, little);
      return found >= 1 && found <= 8 ? found : 1;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return 1;
}

function ascii(bytes, start, count) {
  return String.fromCharCode(...bytes.subarray(start, start + count));
}

function joined(parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    out.set(part, place);
    place += part.length;
  }
  return out;
}
