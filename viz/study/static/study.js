"use strict";
// The page of a study. Content comes from the element #study; docs/study.md describes it and the answers.
(() => {
  const ANSWERS = "maxact study answers";
  const study = JSON.parse(document.getElementById("study").textContent);
  const storageKey = `maxact study ${study.about.id}`;
  const find = (id) => document.getElementById(id);
  const radios = [...document.querySelectorAll("input[name=side]")];
  const sureness = [...document.querySelectorAll("#confidence button")];

  /** Participant, order and answers; what localStorage keeps. */
  let session = null;
  /** The trial that is shown, and when it was: null while its pictures are loading. */
  let shownAt = null;

  // ---- order ----

  /** The order of a participant: a number counts, other text is hashed (FNV-1a). */
  function orderOf(participant) {
    const count = study.orders.length;
    if (/^[0-9]+$/.test(participant)) return Number(BigInt(participant) % BigInt(count));
    let hash = 0x811c9dc5;
    for (let place = 0; place < participant.length; place += 1) {
      hash = Math.imul(hash ^ participant.charCodeAt(place), 0x01000193) >>> 0;
    }
    return hash % count;
  }

  function randomParticipant() {
    const numbers = crypto.getRandomValues(new Uint32Array(2));
    return `random-${[...numbers].map((each) => each.toString(16).padStart(8, "0")).join("")}`;
  }

  const trialsOf = (order) => [...study.practice, ...study.orders[order]];

  // ---- storage ----

  function keep() {
    try {
      localStorage.setItem(storageKey, JSON.stringify(session));
    } catch {
      find("no-storage").hidden = false;
    }
  }

  /** The session of an earlier visit, if it fits this study. */
  function kept() {
    try {
      const found = JSON.parse(localStorage.getItem(storageKey));
      const trials = trialsOf(found.order);
      const fits = typeof found.participant === "string" && Array.isArray(found.answers);
      return fits && found.answers.length <= trials.length ? found : null;
    } catch {
      return null;
    }
  }

  function forget() {
    session = null;
    try {
      localStorage.removeItem(storageKey);
    } catch {
      // There is nothing to remove where nothing can be kept.
    }
  }

  // ---- screens ----

  function show(id) {
    for (const each of ["welcome", "trial", "done"]) find(each).hidden = each !== id;
    window.scrollTo(0, 0);
  }

  function welcome() {
    const found = kept();
    find("count-practice").textContent = String(study.practice.length);
    find("count-trials").textContent = String(study.orders[0].length);
    find("start").hidden = found !== null;
    find("resume").hidden = found === null;
    find("participant").value = "";
    find("without").hidden = !study.about.conditions.includes("none");
    if (found !== null) {
      const total = trialsOf(found.order).length;
      find("resume-text").textContent =
        `Participant ${found.participant} has answered ${found.answers.length} of ${total} trials on this computer.`;
    }
    show("welcome");
  }

  function begin(participant) {
    session = {
      participant: participant || randomParticipant(),
      started: new Date().toISOString(),
      reloads: 0,
      answers: [],
    };
    session.order = orderOf(session.participant);
    keep();
    next();
  }

  function next() {
    const trials = trialsOf(session.order);
    if (session.answers.length < trials.length) {
      showTrial(trials, session.answers.length);
      return;
    }
    if (!session.finished) {
      session.finished = new Date().toISOString();
      keep();
    }
    find("saved").textContent = "";
    find("again").disabled = true;
    show("done");
    find("done").querySelector("h1").focus();
  }

  /** What a trial shows: the sides by image, and which one is right. */
  function sidesOf([kind, place, , high, low, right]) {
    const unit = study.units[place];
    const asked = unit.asked.length / 2;
    // A catch trial asks for a copy of a reference.
    const most = kind === "catch" ? [unit.references[0][high], unit.shown[high]] : unit.asked[high];
    const least = unit.asked[asked + low];
    return right ? { left: least, right: most } : { left: most, right: least };
  }

  async function showTrial(trials, number) {
    const trial = trials[number];
    const practice = study.practice.length;
    const references = study.units[trial[1]].references[trial[2]];
    const sides = sidesOf(trial);
    shownAt = null;
    find("trial").classList.add("loading");
    show("trial");
    find("where").textContent =
      number < practice
        ? `Practice ${number + 1} of ${practice}`
        : `Trial ${number - practice + 1} of ${trials.length - practice}`;
    find("progress").max = trials.length;
    find("progress").value = number;
    find("feedback").textContent = "";
    find("next").hidden = true;
    find("photographs").disabled = false;
    find("confidence").disabled = true;
    for (const radio of radios) radio.checked = false;
    for (const side of ["left", "right"]) find(side).src = study.pictures[sides[side][0]];
    fillReferences(references);
    const pictures = [...find("trial").querySelectorAll("img")];
    await Promise.all(pictures.map((picture) => picture.decode().catch(() => undefined)));
    find("trial").classList.remove("loading");
    find("where").focus({ preventScroll: true });
    shownAt = performance.now();
  }

  function fillReferences(places) {
    find("references-title").textContent = places.length
      ? "The unit reacts strongly to"
      : "No reference pictures";
    find("references").dataset.count = String(places.length);
    const shown = places.map((place, number) => {
      const picture = document.createElement("img");
      picture.alt = `Reference picture ${number + 1} of ${places.length}`;
      picture.src = study.pictures[place];
      return picture;
    });
    if (!shown.length) {
      const note = document.createElement("p");
      note.textContent = "Nothing is shown of this unit. Guess.";
      shown.push(note);
    }
    find("references").replaceChildren(...shown);
  }

  // ---- answers ----

  function choose(side) {
    if (shownAt === null || find("photographs").disabled) return;
    for (const radio of radios) radio.checked = radio.value === side;
    find("confidence").disabled = false;
  }

  function answer(confidence) {
    const side = radios.find((radio) => radio.checked)?.value;
    if (shownAt === null || side === undefined || find("confidence").disabled) return;
    const seconds = (performance.now() - shownAt) / 1000;
    shownAt = null;
    const trial = trialsOf(session.order)[session.answers.length];
    const [kind, place, condition, , , right] = trial;
    const unit = study.units[place];
    const sides = sidesOf(trial);
    const correct = right ? "right" : "left";
    session.answers.push({
      kind,
      layer: unit.layer,
      unit: unit.unit,
      condition: kind === "trial" ? study.about.conditions[condition] : "",
      pictures: unit.references[condition].length,
      left: sides.left[1],
      right: sides.right[1],
      correct,
      answer: side,
      confidence,
      seconds: Math.round(seconds * 1000) / 1000,
    });
    keep();
    if (kind !== "practice") {
      next();
      return;
    }
    find("photographs").disabled = true;
    find("confidence").disabled = true;
    find("feedback").textContent =
      side === correct ? "Right." : `The unit reacts more to the ${correct} photograph.`;
    find("next").hidden = false;
    find("next").focus();
  }

  function save() {
    const answers = { format: ANSWERS, version: study.version, study: study.about, ...session };
    const text = `${JSON.stringify(answers, null, 1)}\n`;
    const name = session.participant.replace(/[^A-Za-z0-9_-]+/g, "_");
    const link = document.createElement("a");
    link.download = `answers-${study.about.id.slice(0, 8)}-${name}.json`;
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    find("saved").textContent = `Saved as ${link.download}, in the folder of your downloads.`;
    find("again").disabled = false;
  }

  // ---- events ----

  find("start").addEventListener("submit", (event) => {
    event.preventDefault();
    begin(find("participant").value.trim());
  });
  find("continue").addEventListener("click", () => {
    session = kept();
    if (session === null) {
      welcome();
      return;
    }
    session.reloads += 1;
    keep();
    next();
  });
  find("discard").addEventListener("click", () => {
    forget();
    welcome();
  });
  find("next").addEventListener("click", next);
  find("save").addEventListener("click", save);
  find("again").addEventListener("click", () => {
    forget();
    welcome();
  });
  for (const radio of radios) radio.addEventListener("change", () => choose(radio.value));
  for (const button of sureness) {
    button.addEventListener("click", () => answer(Number(button.value)));
  }
  document.addEventListener("keydown", (event) => {
    if (find("trial").hidden || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      event.preventDefault(); // a browser would go round the two radio buttons
      choose(event.key === "ArrowLeft" ? "left" : "right");
    } else if (["1", "2", "3"].includes(event.key)) {
      answer(Number(event.key));
    }
  });

  welcome();
})();
