// The page on which somebody without a card, and without any software of ours, sends a file to a unit.
//
// The file is encrypted here, to the recipient whose fingerprint is shown, and leaves in parts. A part is encrypted while the one
// before it is on its way, so that a file of many gigabytes needs the memory of three parts. What is said stands in the page, in
// its language.

import { Encrypter, sha256 } from "./age.js";

/** The length of every part but the last, in bytes: `PART` in api/src/wire/deliveries.rs. */
const PART = 8 << 20;
/** The longest title, file name and sender, in bytes of UTF-8. */
const LINE = 255;
/** What an encrypted file is called after its name. */
const SEALED = ".age";
/** So much is encrypted in one go, in bytes: then the page has a moment for whoever wants to stop. */
const GO = 2 << 20;
/** How long to wait before the first further try, and at most, in milliseconds. */
const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;
/** A line over which nothing has gone for so long is torn, in milliseconds. */
const SILENCE = 60_000;

const at = (id) => document.getElementById(id);
const said = (id, values = {}) => fill(at(id).content.textContent, values);
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
/** The largest file that is taken, in bytes. */
const LARGEST = Number(at("form").dataset.largest);
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const utf8 = (text) => new TextEncoder().encode(text);

/** A fault that the page has words for, under this id. */
class Fault extends Error {
  constructor(id, values = {}) {
    super(id);
    this.values = values;
  }
}

/** Something in the form is missing, or does not do. */
class Wrong extends Fault {
  constructor(id, field, values) {
    super(id, values);
    this.field = field;
  }
}

/** The sender does not want to go on. */
class Stopped extends Error {}

// The form.

/** The unit that is chosen. */
function addressee() {
  const choice = document.querySelector("input[name=unit]:checked");
  return choice && { unit: choice.value, name: choice.dataset.name, recipient: choice.dataset.recipient };
}

/** Groups of four characters, each in an element of its own, so that they can be read out one by one. */
function inGroups(text) {
  return text.match(/.{4}/g).map((group) => {
    const element = document.createElement("span");
    element.textContent = group;
    return element;
  });
}

/** What `warifu-admin unit show` says of this recipient (P-17.6), computed from what is encrypted to and nothing else. */
function fingerprint(recipient) {
  return hex(sha256(utf8(recipient)).subarray(0, 16));
}

function showFingerprint() {
  const chosen = addressee();
  at("check").hidden = !chosen;
  if (chosen) at("fingerprint").replaceChildren(...inGroups(fingerprint(chosen.recipient)));
}

/** One line as the server takes it (P-3.1): what cannot be seen, and blanks at its ends, are left out. */
function line(text) {
  const unseen = /(?!\p{Variation_Selector})[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]/gu;
  return text.replace(unseen, "").trim();
}

/**
 * A name that a file can have everywhere: no file is refused for a name that its own system let it have. A Mac takes "が" apart; only what
 * it takes apart is put together, since the whole of NFC would change characters of people's names.
 */
function fileName(name) {
  const composed = name.replace(/\P{M}\p{M}+/gu, (taken) => taken.normalize("NFC"));
  const harmless = line(composed).replace(/[/\\:*?"<>|]/g, "_").replace(/^[.\s]+|[.\s]+$/gu, "") || "file";
  return shortened(harmless) + SEALED;
}

/**
 * The same with its ending, but no longer than the server takes with what comes after it. Names in Japanese have three bytes to a
 * character.
 */
function shortened(name) {
  const ending = /\.[A-Za-z0-9]{1,10}$/.exec(name)?.[0] ?? "";
  const characters = [...name.slice(0, name.length - ending.length)];
  while (utf8(characters.join("") + ending + SEALED).length > LINE) characters.pop();
  return characters.join("").trimEnd() + ending;
}

/** What the form says, or the fault in it. */
function asked() {
  const to = addressee();
  if (!to) throw new Wrong("form-no-unit", document.querySelector("input[name=unit]"));
  const file = at("file").files[0];
  if (!file) throw new Wrong("form-no-file", at("file"));
  if (file.size === 0) throw new Wrong("form-empty-file", at("file"));
  if (file.size > LARGEST) throw new Wrong("form-too-large", at("file"), { largest: size(LARGEST) });
  const title = line(at("title").value);
  if (!title) throw new Wrong("form-no-title", at("title"));
  if (utf8(title).length > LINE) throw new Wrong("form-too-long", at("title"));
  const [name, telephone] = ["name", "telephone"].map((field) => {
    const text = line(at(field).value);
    if (!text) throw new Wrong("form-no-sender", at(field));
    return text;
  });
  const from = said("said-from", { name, telephone });
  if (utf8(from).length > LINE) throw new Wrong("form-too-long", at("name"));
  return { to, file, title, from, name: fileName(file.name) };
}

// Encrypting, and sending what is encrypted.

/** The ciphertext in parts: each `PART` bytes long, but for the last one. All of it goes into the digest, in small pieces. */
async function* parts(ciphertext, digest) {
  const reader = ciphertext.getReader();
  let part = new Uint8Array(PART);
  let filled = 0;
  let gone = 0;
  for (;;) {
    let { done, value } = await reader.read().catch(() => {
      throw new Fault("fault-delivery-file-unreadable");
    });
    if (done) break;
    digest.update(value);
    gone += value.length;
    if (gone >= GO) {
      gone = 0;
      await new Promise((resolve) => setTimeout(resolve));
    }
    while (value.length > 0) {
      const taken = value.subarray(0, PART - filled);
      part.set(taken, filled);
      filled += taken.length;
      value = value.subarray(taken.length);
      if (filled === PART) {
        yield part;
        part = new Uint8Array(PART);
        filled = 0;
      }
    }
  }
  if (filled > 0) yield part.subarray(0, filled);
}

/** One attempt at a request: its status, what it answered, and how long the server asks us to wait. Status 0 is a torn line. */
function attempt(sending, method, path, type, body, onProgress) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    let silence;
    const alive = () => {
      clearTimeout(silence);
      silence = setTimeout(() => request.abort(), SILENCE);
    };
    request.open(method, path);
    request.setRequestHeader("content-type", type);
    request.upload.onprogress = (event) => {
      alive();
      onProgress(event.loaded);
    };
    request.onprogress = alive;
    request.onloadend = () => {
      clearTimeout(silence);
      sending.request = undefined;
      const wait = Number(request.getResponseHeader?.("retry-after") ?? 0) * 1_000;
      resolve({ status: request.status, text: request.responseText, wait });
    };
    sending.request = request;
    alive();
    request.send(body);
  });
}

/** Waits for so long, for the line to be there again, or for the sender to stop. */
function pause(sending, milliseconds) {
  return new Promise((resolve) => {
    const over = () => {
      clearTimeout(timer);
      removeEventListener("online", over);
      sending.wake = undefined;
      resolve();
    };
    const timer = setTimeout(over, milliseconds);
    addEventListener("online", over);
    sending.wake = over;
  });
}

/** A request that goes on through torn lines, a server that starts again, and one that is busy, until it is answered. */
async function ask(sending, method, path, body, onProgress = () => {}) {
  const bytes = body instanceof Uint8Array;
  const type = bytes ? "application/octet-stream" : "application/json";
  const content = bytes ? body : body && JSON.stringify(body);
  for (let wait = FIRST_WAIT; ; wait = Math.min(2 * wait, LONGEST_WAIT)) {
    if (sending.stopped) throw new Stopped();
    const answer = await attempt(sending, method, path, type, content, onProgress);
    if (sending.stopped) throw new Stopped();
    if (answer.status >= 200 && answer.status < 300) {
      sending.waits();
      return JSON.parse(answer.text);
    }
    const code = codeOf(answer);
    if (!LATER.includes(code)) throw new Fault(`fault-delivery-${REFUSALS.includes(code) ? code : "refused"}`, { code });
    sending.waits(code === "torn" ? said("said-torn") : said("said-busy"));
    await pause(sending, Math.max(wait, answer.wait));
  }
}

/** What goes by when one waits. */
const LATER = ["torn", "busy", "not-ready", "storage-unavailable", "internal"];
/** Refusals that have words of their own. */
const REFUSALS = ["box-full", "malformed", "not-a-target", "not-found", "too-large", "unit-closed"];

function codeOf({ status, text }) {
  if (status === 0) return "torn";
  try {
    return JSON.parse(text).code;
  } catch {
    // Something between us and the kms has answered.
    return status >= 500 || status === 429 ? "torn" : "refused";
  }
}

/** Sends what was asked for; answers the receipt's number. */
async function deliver({ to, file, title, from, name }, sending) {
  const encrypter = new Encrypter();
  encrypter.addRecipient(to.recipient);
  const ciphertext = await encrypter.encrypt(file.stream());
  const whole = ciphertext.size(file.size);
  const id = hex(crypto.getRandomValues(new Uint8Array(16)));
  const offer = { id, unit: to.unit, from, title, name, size: whole };
  await ask(sending, "POST", "/v1/deliveries/outside", offer);

  const digest = sha256.create();
  let underWay = Promise.resolve();
  let number = 0;
  try {
    for await (const part of parts(ciphertext, digest)) {
      await underWay;
      const before = number * PART;
      const path = `/v1/deliveries/${id}/parts/${number}`;
      underWay = ask(sending, "PUT", path, part, (sent) => sending.progress(before + sent, whole));
      // It is awaited when the next part is there: until then nobody else has to hear of its fault.
      underWay.catch(() => {});
      number += 1;
    }
  } catch (fault) {
    sending.stop();
    throw fault;
  }
  await underWay;
  sending.progress(whole, whole);
  return complete(id, hex(digest.digest()), sending);
}

/** All parts are there: waits until the server has found that they are what left here. */
async function complete(id, digest, sending) {
  for (;;) {
    const { state } = await ask(sending, "POST", `/v1/deliveries/${id}/complete`, { digest });
    if (state.state === "arriving") throw new Fault("fault-delivery-other-file");
    if (state.state === "quarantined" || state.state === "arrived") return id;
    if (state.state !== "checking") throw new Fault("fault-delivery-not-found");
  }
}

// What is shown.

const SECTIONS = ["form", "sending", "done", "failed"];

function show(section) {
  for (const each of SECTIONS) at(each).hidden = each !== section;
  at(`${section}-heading`)?.focus();
  scrollTo(0, 0);
}

const numbers = new Intl.NumberFormat(document.documentElement.lang, { maximumSignificantDigits: 3 });

/** Bytes as people read them, and as most PCs show the sizes of files: in powers of 1,024. */
function size(bytes) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let power = 0;
  while (bytes >= 1_024 && power < units.length - 1) {
    bytes /= 1_024;
    power += 1;
  }
  return `${numbers.format(bytes)} ${units[power]}`;
}

/** A delivery that is under way, as the page shows it. */
class Sending {
  constructor({ to, file }) {
    at("sending-what").textContent = said("said-sending-what", { file: file.name, unit: to.name });
    at("going-on").textContent = "";
    this.progress(0, file.size);
  }

  progress(done, whole) {
    const share = Math.min(done / whole, 1);
    at("progress").value = Math.floor(share * 1_000);
    const values = { percent: Math.floor(share * 100), done: size(Math.min(done, whole)), whole: size(whole) };
    at("sent-so-far").textContent = said("said-so-far", values);
  }

  /** Why nothing goes on just now. Read aloud when it changes, and not for every part. */
  waits(text = "") {
    if (at("going-on").textContent !== text) at("going-on").textContent = text;
  }

  stop() {
    this.stopped = true;
    this.request?.abort();
    this.wake?.();
  }
}

let underWay;

async function send(event) {
  event.preventDefault();
  at("wrong").hidden = true;
  let delivery;
  try {
    delivery = asked();
  } catch (fault) {
    if (!(fault instanceof Wrong)) throw fault;
    at("wrong").textContent = said(fault.message, fault.values);
    at("wrong").hidden = false;
    fault.field.focus();
    return;
  }
  underWay = new Sending(delivery);
  show("sending");
  try {
    const id = await deliver(delivery, underWay);
    at("receipt").replaceChildren(...inGroups(id));
    at("done-to").textContent = delivery.to.name;
    at("done-file").textContent = delivery.file.name;
    at("done-at").textContent = new Date().toLocaleString(document.documentElement.lang);
    show("done");
  } catch (fault) {
    if (fault instanceof Stopped) return show("form");
    const known = fault instanceof Fault;
    if (!known) console.error(fault);
    const id = known ? fault.message : "fault-delivery-unexpected";
    at("failed-what").textContent = said(id, fault.values);
    at("failed-remedy").textContent = said(`${id}.remedy`, fault.values);
    show("failed");
  } finally {
    underWay = undefined;
  }
}

at("form").addEventListener("submit", send);
at("form").addEventListener("input", () => {
  at("wrong").hidden = true;
});
at("units").addEventListener("change", showFingerprint);
at("stop").addEventListener("click", () => underWay?.stop());
at("retry").addEventListener("click", () => show("form"));
at("again").addEventListener("click", () => {
  at("file").value = "";
  at("title").value = "";
  show("form");
});
addEventListener("beforeunload", (event) => {
  if (underWay) event.preventDefault();
});

at("no-script").hidden = true;
at("file-hint").textContent = said("said-file-hint", { largest: size(LARGEST) });
if (document.querySelector("input[name=unit]")) {
  at("form").hidden = false;
  showFingerprint();
}
