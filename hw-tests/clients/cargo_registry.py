"""A registry of crates (the sparse protocol and the API of cargo's book, "Registries") that wants its token for everything.

usage: cargo_registry.py CERTIFICATE KEY TOKEN; prints its port
"""

import hashlib
import json
import ssl
import struct
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CERTIFICATE, KEY, TOKEN = sys.argv[1:]
crates = {}


class Registry(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body, content_type="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if status == 401:
            self.send_header("WWW-Authenticate", f'Cargo login_url="{HERE}/me"')
        self.end_headers()
        self.wfile.write(body)

    def knows_it(self):
        if self.headers.get("Authorization") == TOKEN:
            return True
        self.answer(401, b"{}")
        return False

    def do_GET(self):
        if not self.knows_it():
            return
        if self.path == "/index/config.json":
            config = {"dl": f"{HERE}/dl/{{crate}}-{{version}}", "api": HERE, "auth-required": True}
            return self.answer(200, json.dumps(config).encode())
        name = self.path.rsplit("/", 1)[-1]
        if self.path.startswith("/index/") and name in crates:
            return self.answer(200, crates[name][0], "text/plain")
        if self.path.startswith("/dl/") and name.rsplit("-", 1)[0] in crates:
            return self.answer(200, crates[name.rsplit("-", 1)[0]][1], "application/gzip")
        self.answer(404, b"{}")

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.knows_it():
            return
        (length,) = struct.unpack_from("<I", body)
        told, crate = json.loads(body[4 : 4 + length]), body[8 + length :]
        line = {"name": told["name"], "vers": told["vers"], "deps": [], "features": {}, "yanked": False}
        line["cksum"] = hashlib.sha256(crate).hexdigest()
        crates[told["name"]] = (json.dumps(line).encode() + b"\n", crate)
        self.answer(200, b'{"warnings":{"invalid_categories":[],"invalid_badges":[],"other":[]}}')

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
HERE = f"https://localhost:{server.server_port}"
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
