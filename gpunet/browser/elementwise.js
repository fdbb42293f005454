// y = rule(x), value by value; y may be x.

export function each(x, y, rule) {
  const source = x.data, target = y.data;
  for (let i = 0; i < source.length; i++) target[i] = rule(source[i]);
}

export function sigmoid(value) {
  const exponent = Math.exp(-Math.abs(value)); // which never overflows
  return (value >= 0 ? 1 : exponent) / (1 + exponent);
}
