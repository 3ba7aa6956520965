"""JSON Web Tokens, made with what Python and openssl have, and not with the gateway's own library."""

import base64
import hashlib
import hmac
import json
import subprocess
import time

SECRET = b"a secret of the tests that is long enough for every hash: 0123456789abcdef"
HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def encode(data):
    """Base64url (RFC 7515 section 2)."""
    if not isinstance(data, bytes):
        data = json.dumps(data).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims(subscribe=(), publish=(), admin=None, lifetime=3600, subject="somebody", **more):
    """What a good token says. `lifetime`: seconds, or None for no end."""
    granted = {"subscribe": list(subscribe), "publish": list(publish)} | ({"admin": admin} if admin is not None else {})
    now = int(time.time())
    said = {"sub": subject, "iat": now, "eventgate": granted}
    if lifetime is not None:
        said["exp"] = now + lifetime
    return {k: v for k, v in (said | more).items() if v is not None}


def signed(body, secret=SECRET, algorithm="HS256", **header):
    """A token with these claims, by a shared secret."""
    text = f"{encode({'alg': algorithm, 'typ': 'JWT'} | header)}.{encode(body)}"
    return f"{text}.{encode(hmac.new(secret, text.encode(), HASHES[algorithm]).digest())}"


def token(*arguments, **named):
    """A good token of the tests' usual key; see claims()."""
    return signed(claims(*arguments, **named))


def bearer(*arguments, **named):
    """The same as a header."""
    return {"Authorization": "Bearer " + token(*arguments, **named)}


class KeyPair:
    """An RSA or P-256 key in files, by openssl: `public` is what the gateway is given."""

    def __init__(self, folder, algorithm):
        self.algorithm = algorithm
        self.private, self.public = folder / f"{algorithm}.key", folder / f"{algorithm}.pem"
        kind = ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"] if algorithm != "ES256" else [
            "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
        self._openssl("genpkey", "-algorithm", *kind, "-out", self.private)
        self._openssl("pkey", "-in", self.private, "-pubout", "-out", self.public)

    def jwk(self, kid):
        """The public half under that id (RFC 7517)."""
        if self.algorithm == "ES256":
            point = self._openssl("pkey", "-pubin", "-in", self.public, "-outform", "DER")[-64:]
            key = {"kty": "EC", "crv": "P-256", "x": encode(point[:32]), "y": encode(point[32:])}
        else:
            modulus = self._openssl("rsa", "-pubin", "-in", self.public, "-modulus", "-noout").decode()
            key = {"kty": "RSA", "n": encode(bytes.fromhex(modulus.strip().partition("=")[2])), "e": "AQAB"}
        return key | {"kid": kid, "alg": self.algorithm}

    @staticmethod
    def _openssl(*arguments, data=None):
        return subprocess.run(["openssl", *map(str, arguments)], input=data, capture_output=True, check=True).stdout

    def signed(self, body, **header):
        text = f"{encode({'alg': self.algorithm} | header)}.{encode(body)}"
        options = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1"] if self.algorithm == "PS256" else []
        signature = self._openssl("dgst", "-sha256", *options, "-sign", self.private, data=text.encode())
        if self.algorithm == "ES256":
            signature = join(signature)
        return f"{text}.{encode(signature)}"


def join(der):
    """The two numbers of an ECDSA signature side by side (RFC 7518 section 3.4)."""
    numbers, at = [], 2
    while at < len(der):
        length = der[at + 1]
        numbers.append(int.from_bytes(der[at + 2:at + 2 + length], "big").to_bytes(32, "big"))
        at += 2 + length
    return b"".join(numbers)
