// Encrypts stdin to the recipients given as arguments and writes the age file to stdout, as a browser would.
// With --armor first, the file is armored.
import { webcrypto } from "node:crypto";
import { buffer } from "node:stream/consumers";

// Browsers and newer Node have it; Debian 12's Node 18 keeps it in a module.
globalThis.crypto ??= webcrypto;
const { Encrypter, armor } = await import("age-encryption");

const recipients = process.argv.slice(2);
const armored = recipients[0] === "--armor";
if (armored) recipients.shift();
if (recipients.length === 0) {
  console.error("usage: node seal.mjs [--armor] RECIPIENT... < plaintext > file.age");
  process.exit(2);
}

const encrypter = new Encrypter();
for (const recipient of recipients) encrypter.addRecipient(recipient);
const sealed = await encrypter.encrypt(new Uint8Array(await buffer(process.stdin)));
process.stdout.write(armored ? armor.encode(sealed) : sealed);
