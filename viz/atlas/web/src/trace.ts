// The scores of a rendering while it climbs, as the server's events tell them.

/** One event: what has changed since the last one. */
export interface Progress {
  state: "queued" | "running" | "done" | "failed" | "cancelled";
  /** Renderings before it in the queue. */
  ahead: number;
  step: number;
  steps: number;
  /** 2 when the first attempt failed. */
  attempt: number;
  /** Number of scores of this attempt that were told before these. */
  told: number;
  scores: (number | null)[];
  /** Address of a picture; empty where it has not changed. */
  picture: string;
  message: string;
}

export function hasEnded(progress: Progress): boolean {
  return progress.state === "done" || progress.state === "failed" || progress.state === "cancelled";
}

export class Trace {
  private attempt = 1;
  readonly scores: number[] = [];

  add(progress: Progress): void {
    if (progress.attempt !== this.attempt) this.scores.length = 0;
    this.attempt = progress.attempt;
    this.scores.length = Math.min(this.scores.length, progress.told);
    for (const score of progress.scores) this.scores.push(score ?? this.scores[this.scores.length - 1] ?? 0);
  }

  /** Data of an SVG path over a box; `steps` fill its width. */
  path(width: number, height: number, steps: number): string {
    if (!this.scores.length) return "";
    const low = Math.min(...this.scores);
    const range = Math.max(...this.scores) - low || 1;
    const across = width / Math.max(1, steps - 1);
    const place = (score: number, step: number): string =>
      `${(step * across).toFixed(1)} ${(height - ((score - low) / range) * height).toFixed(1)}`;
    return `M${this.scores.map(place).join("L")}`;
  }
}

export function describe(progress: Progress): string {
  const { state, ahead, step, steps, attempt, message } = progress;
  if (state === "queued") return ahead === 1 ? "queued, 1 before it" : `queued, ${ahead} before it`;
  if (state === "running") {
    if (!steps) return "starting";
    return `step ${step} of ${steps}${attempt > 1 ? `, attempt ${attempt}` : ""}`;
  }
  return message || state;
}
