"""Statements checked and made by software that is not ours.

Every statement that Countersign exports is verified with securesystemslib's DSSE (the reference implementation in Python)
and again by hand (PAE and Ed25519 from `cryptography`); its payload must be what any JSON library writes with sorted keys
and no white space. Then statements are made here, good and bad, and Countersign must accept exactly the good ones, under
the digest computed here.

Usage: dsse.py <path of the example `statements`>. Prints "<passed> <failed>" last.
"""

import base64
import copy
import hashlib
import json
import subprocess
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

passed = 0
failed = 0


def expect(condition, what):
    global passed, failed
    if condition:
        passed += 1
    else:
        failed += 1
        print(f"FAILED {what}", file=sys.stderr)


def pae(payload_type: str, payload: bytes) -> bytes:
    """https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md#signature-definition"""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def canonical(value) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def verify(line, keys):
    name, envelope = line["name"], line["envelope"]
    payload = base64.b64decode(envelope["payload"], validate=True)
    expect(envelope["payloadType"] == f"application/vnd.countersign.{line['kind']}.v1+json", f"{name}: payload type")
    message = pae(envelope["payloadType"], payload)
    said = json.loads(payload)
    expect(canonical(said) == payload, f"{name}: payload is canonical JSON")
    expect(said["kind"] == line["kind"], f"{name}: kind")
    signers = [s["keyid"] for s in envelope["signatures"]]
    expect(said["issuer"] == signers[0] and len(set(signers)) == len(signers), f"{name}: signers")
    for signature in envelope["signatures"]:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(keys[signature["keyid"]]["public"]))
        try:
            public.verify(base64.b64decode(signature["sig"], validate=True), message)
            expect(True, name)
        except InvalidSignature:
            expect(False, f"{name}: signature of {signature['keyid']}")
    trusted = [
        SSlibKey(keyid, "ed25519", "ed25519", {"public": keys[keyid]["public"]})
        for keyid in dict.fromkeys(signers)
    ]
    theirs = Envelope.from_dict(copy.deepcopy(envelope))
    expect(theirs.pae() == message, f"{name}: PAE")
    accepted = theirs.verify(trusted, len(trusted))
    expect(len(accepted) == len(trusted), f"{name}: securesystemslib verifies")


class Maker:
    """Makes envelopes from what was exported, with a change."""

    def __init__(self, line, keys):
        self.line = line
        self.keys = keys
        self.said = json.loads(base64.b64decode(line["envelope"]["payload"]))
        self.type = line["envelope"]["payloadType"]
        self.signers = [s["keyid"] for s in line["envelope"]["signatures"]]

    def key(self, member):
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(self.keys[member]["seed"]))

    def make(self, name, payload=None, type=None, message=None, signers=None):
        payload = canonical(self.said) if payload is None else payload
        type = self.type if type is None else type
        message = pae(type, payload) if message is None else message
        signers = [(s, s) for s in self.signers] if signers is None else signers
        signatures = [
            {"keyid": keyid, "sig": base64.b64encode(self.key(member).sign(message)).decode()}
            for keyid, member in signers
        ]
        envelope = {"payloadType": type, "payload": base64.b64encode(payload).decode(), "signatures": signatures}
        digest = hashlib.sha256(pae(type, payload)).hexdigest()
        return {"name": f"{self.line['name']}: {name}", "kind": self.line["kind"], "envelope": envelope}, digest

    def good(self):
        yield self.make("made here")
        self.said["id"] = "another-id"
        yield self.make("another id")

    def bad(self):
        said = self.said
        text = canonical(said)
        yield self.make("white space", payload=json.dumps(said, sort_keys=True).encode())
        yield self.make("unsorted", payload=json.dumps(dict(reversed(sorted(said.items()))), separators=(",", ":")).encode())
        yield self.make("unknown field", payload=canonical({**said, "extra": 1}))
        yield self.make("duplicate key", payload=text.replace(b'"kind":', b'"kind":"x","kind":', 1))
        yield self.make("no genesis", payload=canonical({k: v for k, v in said.items() if k != "genesis"}))
        yield self.make("another genesis", payload=canonical({**said, "genesis": "11" * 32}))
        yield self.make("expired before issue", payload=canonical({**said, "expires_at": "2020-01-01T00:00:00.000Z"}))
        yield self.make("an escape", payload=text.replace(b'"kind"', b'"\\u006bind"', 1))
        yield self.make("payload signed without its type", message=text)
        yield self.make("length of the type left out", message=b"DSSEv1 %s %d %s" % (self.type.encode(), len(text), text))
        yield self.make("another type", type="application/json")
        yield self.make("type of another kind", type="application/vnd.countersign.other.v1+json")
        yield self.make("by somebody else", signers=[(self.signers[0], "auditor")] + [(s, s) for s in self.signers[1:]])
        yield self.make("under another key id", signers=[("auditor", self.signers[0])])
        yield self.make("by nobody", signers=[])
        yield self.make("signed twice", signers=[(s, s) for s in self.signers] + [(self.signers[0], self.signers[0])])
        for name, change in {
            "url-safe base64": lambda e: e.update(payload=e["payload"].replace("=", "").replace("+", "-").replace("/", "_") + "\n"),
            "short signature": lambda e: e["signatures"][0].update(sig=base64.b64encode(b"x" * 63).decode()),
            "long signature": lambda e: e["signatures"][0].update(sig=base64.b64encode(b"x" * 65).decode()),
            "another member of the envelope": lambda e: e.update(extra=1),
        }.items():
            line, digest = self.make(name)
            change(line["envelope"])
            yield line, digest
        line, digest = self.make("s plus the group order")
        signature = bytearray(base64.b64decode(line["envelope"]["signatures"][0]["sig"]))
        order = 2**252 + 27742317777372353535851937790883648493
        signature[32:] = (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
        line["envelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
        yield line, digest


def main():
    example = sys.argv[1]
    keys = json.loads(subprocess.run([example, "keys"], capture_output=True, check=True).stdout)
    exported = subprocess.run([example, "export"], capture_output=True, check=True).stdout.decode().splitlines()
    lines = [json.loads(line) for line in exported]
    expect(len(lines) >= 11, "a statement of every kind")
    for line in lines:
        verify(line, keys)
    expected = []
    for line in lines:
        # The genesis bundle is what it is by its hash; no other can be made.
        if line["name"] == "policy-bundle-genesis":
            continue
        maker = Maker(line, keys)
        expected += [(made, digest, False) for made, digest in maker.bad()]
        expected += [(made, digest, True) for made, digest in maker.good()]
    sent = "\n".join(json.dumps(made) for made, _, _ in expected) + "\n"
    answers = subprocess.run([example, "open"], input=sent.encode(), capture_output=True, check=True).stdout
    answers = [json.loads(answer) for answer in answers.decode().splitlines()]
    expect(len(answers) == len(expected), "an answer to everything")
    for (made, digest, good), answer in zip(expected, answers):
        expect(answer["name"] == made["name"], "answers in order")
        if good:
            expect(answer["digest"] == digest, f"{made['name']} must be accepted: {answer['error']}")
        else:
            expect(answer["digest"] is None, f"{made['name']} must be refused")
    print(passed, failed)


main()
