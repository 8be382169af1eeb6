// Search over all units and labels of the atlas.

export interface SearchData {
  layers: { layer: string; ordinal: number; units: [number, string][] }[];
  labels: [string, string][];
}

export interface Hit {
  title: string;
  detail: string;
  href: string;
}

/** Units and labels that contain every word of a text; `LAYER NUMBER` finds that unit first. */
export function search(data: SearchData, text: string, limit: number): Hit[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const labels: Hit[] = [];
  for (const [label, href] of data.labels) {
    const low = label.toLowerCase();
    if (words.every((word) => low.includes(word))) labels.push({ title: label, detail: "label", href });
  }
  const exact: Hit[] = [];
  const units: Hit[] = [];
  for (const { layer, ordinal, units: found } of data.layers) {
    const name = layer.toLowerCase();
    for (const [unit, described] of found) {
      const number = String(unit);
      const low = described.toLowerCase();
      if (!words.every((word) => word === number || name.includes(word) || low.includes(word))) continue;
      const hit = { title: `${layer} ${unit}`, detail: described, href: `unit/${ordinal}/${unit}.html` };
      (words.includes(number) ? exact : units).push(hit);
      if (exact.length + units.length > 50 * limit) break;
    }
  }
  return [...exact, ...labels, ...units].slice(0, limit);
}
