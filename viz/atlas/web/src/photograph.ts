// A photograph of the visitor's: chosen, dropped, pasted, or a frame of the camera.

const FRAME_SIDE = 640;

/** The size of a frame whose longer side is at most `side`. */
export function fitted(width: number, height: number, side: number): { width: number; height: number } {
  const scale = Math.min(1, side / Math.max(width, height, 1));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

/** The first picture among files. */
export function firstPicture(files: Iterable<File> | null | undefined): File | undefined {
  return [...(files ?? [])].find((file) => file.type.startsWith("image/"));
}

class Chooser {
  private readonly input: HTMLInputElement;
  private readonly status: HTMLElement;
  private readonly results: HTMLElement;
  private stream: MediaStream | undefined;
  private busy = false;

  constructor(private readonly form: HTMLFormElement) {
    this.input = form.querySelector<HTMLInputElement>("input[type=file]")!;
    this.status = document.getElementById("photograph-status")!;
    this.results = document.getElementById("results")!;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const file = this.input.files?.[0];
      if (file) void this.send(file);
    });
    this.input.addEventListener("change", () => form.requestSubmit());
    document.addEventListener("paste", (event) => this.take(event.clipboardData?.files));
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      form.classList.add("over");
    });
    document.addEventListener("dragleave", () => form.classList.remove("over"));
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      form.classList.remove("over");
      this.take(event.dataTransfer?.files);
    });
    this.addCamera();
  }

  private take(files: Iterable<File> | null | undefined): void {
    const file = firstPicture(files);
    if (file) void this.send(file);
  }

  /** Shows what a photograph drives; whether it could. */
  private async send(file: Blob): Promise<boolean> {
    if (this.busy) return false;
    this.busy = true;
    this.status.textContent = "Running it through the network";
    const fields = new FormData(this.form);
    fields.set("photograph", file, "photograph");
    try {
      const response = await fetch(this.form.action, { method: "POST", body: fields, headers: { accept: "text/html" } });
      const text = await response.text();
      const found = new DOMParser().parseFromString(text, "text/html").getElementById("results");
      if (!found) {
        this.status.textContent = text.trim().slice(0, 300) || `the server answered ${response.status}`;
        return false;
      }
      this.results.replaceChildren(...found.childNodes);
      const shown = this.results.querySelectorAll(".driven > li > a").length;
      this.status.textContent = shown ? `${shown} units` : "";
      return response.ok;
    } catch {
      this.status.textContent = "the server cannot be reached";
      return false;
    } finally {
      this.busy = false;
    }
  }

  private addCamera(): void {
    const button = document.getElementById("camera") as HTMLButtonElement;
    if (!("mediaDevices" in navigator) || !navigator.mediaDevices) return;
    button.hidden = false;
    button.addEventListener("click", () => void this.openCamera());
    document.getElementById("frame")!.addEventListener("click", () => void this.takeFrame());
    document.getElementById("camera-off")!.addEventListener("click", () => this.closeCamera());
    const keep = document.getElementById("keep-taking") as HTMLInputElement;
    keep.addEventListener("change", () => void this.takeFrames(keep));
  }

  private async openCamera(): Promise<void> {
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: true });
    } catch (error) {
      this.status.textContent = `The camera cannot be used: ${error instanceof Error ? error.message : String(error)}`;
      return;
    }
    const video = this.form.querySelector("video")!;
    video.srcObject = this.stream;
    await video.play();
    document.getElementById("viewfinder")!.hidden = false;
  }

  private closeCamera(): void {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = undefined;
    (document.getElementById("keep-taking") as HTMLInputElement).checked = false;
    document.getElementById("viewfinder")!.hidden = true;
  }

  private async takeFrame(): Promise<boolean> {
    const video = this.form.querySelector("video")!;
    const canvas = document.createElement("canvas");
    Object.assign(canvas, fitted(video.videoWidth, video.videoHeight, FRAME_SIDE));
    canvas.getContext("2d")!.drawImage(video, 0, 0, canvas.width, canvas.height);
    const frame = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
    return frame ? this.send(frame) : false;
  }

  /** Takes one frame after another while the box is checked: the next when the last one is shown. */
  private async takeFrames(keep: HTMLInputElement): Promise<void> {
    while (keep.checked && this.stream) {
      if (!(await this.takeFrame())) keep.checked = false;
    }
  }
}

export function addPhotograph(form: HTMLFormElement): void {
  new Chooser(form);
}
