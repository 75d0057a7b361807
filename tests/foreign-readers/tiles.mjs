// Audits a log from the files that C2SP tlog-tiles describes, and nothing of Warifu's: what `/checkpoint` and `/tile/...`
// answered, kept in a folder under these names.
//
// node tiles.mjs FOLDER ORIGIN LOG_KEY COSIGNER_KEY OLD_SIZE OLD_ROOT      keys and root in base64
import { createHash, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const [folder, origin, logKey, cosignerKey, oldSize, oldRoot] = process.argv.slice(2);
const fail = (why) => {
  console.error(why);
  process.exit(1);
};
const sha256 = (...parts) => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
};
const leafHash = (entry) => sha256(Buffer.of(0), entry);
const nodeHash = (left, right) => sha256(Buffer.of(1), left, right);

// signed-note, tlog-checkpoint, tlog-cosignature.
const note = readFileSync(join(folder, "checkpoint"), "utf8");
const split = note.lastIndexOf("\n\n");
const text = note.slice(0, split + 1);
const signatures = note.slice(split + 2).trimEnd().split("\n");

function ed25519(key, message, signature) {
  const der = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), Buffer.from(key, "base64")]);
  return verify(null, message, createPublicKey({ key: der, format: "der", type: "spki" }), signature);
}

function signatureOf(name, type, key) {
  const id = sha256(name, Buffer.of(10, type), Buffer.from(key, "base64")).subarray(0, 4);
  for (const line of signatures) {
    const [dash, who, base64] = line.split(" ");
    const bytes = Buffer.from(base64, "base64");
    if (dash === "—" && who === name && bytes.subarray(0, 4).equals(id)) return bytes.subarray(4);
  }
  return fail(`no signature by ${name}`);
}

if (!ed25519(logKey, Buffer.from(text), signatureOf(origin, 1, logKey))) fail("the log did not sign the checkpoint");
const cosignature = signatureOf(`${origin}/ca`, 4, cosignerKey);
const cosigned = `cosignature/v1\ntime ${cosignature.readBigUInt64BE(0)}\n${text}`;
if (!ed25519(cosignerKey, Buffer.from(cosigned), cosignature.subarray(8))) fail("it is not cosigned");
const [name, size, root] = text.split("\n");
if (name !== origin) fail(`of another log: ${name}`);

// tlog-tiles.
function tile(kind, number, width) {
  const parts = [];
  for (let rest = number; parts.length === 0 || rest > 0; rest = Math.floor(rest / 1000)) {
    parts.unshift((parts.length === 0 ? "" : "x") + String(rest % 1000).padStart(3, "0"));
  }
  const partial = width === 256 ? "" : `.p/${width}`;
  return readFileSync(join(folder, "tile", kind, `${parts.join("/")}${partial}`));
}

function hashesOf(level, count) {
  const hashes = [];
  for (let at = 0; at < count; at += 256) {
    const width = Math.min(256, count - at);
    const bytes = tile(String(level), at / 256, width);
    if (bytes.length !== width * 32) fail(`tile ${level}/${at / 256} has ${bytes.length} bytes`);
    for (let place = 0; place < width; place++) hashes.push(bytes.subarray(place * 32, place * 32 + 32));
  }
  return hashes;
}

// RFC 6962, section 2.1.
function rootOf(hashes) {
  if (hashes.length === 0) return sha256();
  if (hashes.length === 1) return hashes[0];
  let half = 1;
  while (half * 2 < hashes.length) half *= 2;
  return nodeHash(rootOf(hashes.slice(0, half)), rootOf(hashes.slice(half)));
}

const leaves = hashesOf(0, Number(size));
if (!rootOf(leaves).equals(Buffer.from(root, "base64"))) fail("the tiles are not those of the checkpoint");
if (!rootOf(leaves.slice(0, Number(oldSize))).equals(Buffer.from(oldRoot, "base64"))) fail("the log was rewritten");
for (let level = 1, below = leaves; below.length >= 256; level++) {
  const full = Math.floor(below.length / 256);
  const above = hashesOf(level, full);
  for (const [at, hash] of above.entries()) {
    if (!rootOf(below.slice(at * 256, at * 256 + 256)).equals(hash)) fail(`tile ${level} is of another log`);
  }
  below = above;
}
for (let at = 0; at < leaves.length; at += 256) {
  const width = Math.min(256, leaves.length - at);
  let bundle = tile("entries", at / 256, width);
  for (let place = 0; place < width; place++) {
    const length = bundle.readUInt16BE(0);
    const entry = bundle.subarray(2, 2 + length);
    if (entry.length !== length || !leafHash(entry).equals(leaves[at + place])) fail(`entry ${at + place} is another one`);
    bundle = bundle.subarray(2 + length);
  }
  if (bundle.length > 0) fail(`bundle ${at / 256} has more than it should`);
}
console.log(`${size} entries, cosigned`);
