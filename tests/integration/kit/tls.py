"""Certificates made by openssl, the gateway's side of them as arguments, and the client's."""

import os
import shutil
import ssl
import subprocess

from kit.postgres import private_folder


class Certificate:
    """A certificate for localhost and its key, in a folder of its own: signed by itself, which is what clients trust;
    `days`: how long it is valid."""

    def __init__(self, days=30, key=("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
        self.folder = private_folder("eventgate-tls-")
        self.certificate, self.key = f"{self.folder}/certificate.pem", f"{self.folder}/key.pem"
        self.make(days, key)

    def make_expired(self):
        """Puts one in its place that was valid in January 2020."""
        request = f"{self.folder}/request.pem"
        with open(f"{self.folder}/ca.cnf", "w", encoding="ascii") as file:
            file.write(f"[ca]\ndefault_ca = own\n[own]\ndatabase = {self.folder}/index.txt\nserial = {self.folder}/serial\n"
                       f"new_certs_dir = {self.folder}\ndefault_md = sha256\npolicy = any\n[any]\ncommonName = supplied\n")
        for name, text in (("index.txt", ""), ("serial", "01\n")):
            with open(f"{self.folder}/{name}", "w", encoding="ascii") as file:
                file.write(text)
        openssl("req", "-new", "-key", self.key, "-out", request, "-subj", "/CN=localhost")
        openssl("ca", "-batch", "-notext", "-selfsign", "-config", f"{self.folder}/ca.cnf", "-keyfile", self.key, "-in",
                request, "-out", self.certificate, "-startdate", "20200101000000Z", "-enddate", "20200201000000Z")

    def make(self, days=30, key=("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
        """Puts a new pair in its place."""
        openssl("req", "-x509", "-nodes", *key, "-keyout", self.key, "-out", self.certificate, "-days", str(days),
                "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        os.chmod(self.key, 0o644)  # the gateway may run as somebody else

    def arguments(self):
        return "--tls-certificate", self.certificate, "--tls-key", self.key

    def context(self, least=None, most=None):
        """A client's that believes this certificate, and speaks these versions."""
        context = ssl.create_default_context(cafile=self.certificate)
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        context.set_alpn_protocols(["h2", "http/1.1"])
        if least:
            context.minimum_version = least
        if most:
            context.maximum_version = most
        return context

    def der(self):
        with open(self.certificate, encoding="ascii") as file:
            return ssl.PEM_cert_to_DER_cert(file.read())

    def remove(self):
        shutil.rmtree(self.folder)


def openssl(*arguments):
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
