"""As much of GitHub's API as the commands of a test ask for (REST and GraphQL), which wants its token for everything.

usage: github_api.py CERTIFICATE KEY TOKEN; prints its port
"""

import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CERTIFICATE, KEY, TOKEN = sys.argv[1:]
REPOSITORY = {"id": "R_1", "name": "app", "owner": {"login": "me"}, "hasIssuesEnabled": True, "viewerPermission": "ADMIN"}
issues = []


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, told):
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-OAuth-Scopes", "repo, read:org")
        self.end_headers()
        self.wfile.write(body)

    def knows_it(self):
        # gh writes `token`, as GitHub's first version of this had it.
        if self.headers.get("Authorization") == f"token {TOKEN}":
            return True
        self.answer(401, {"message": "Bad credentials"})
        return False

    def do_GET(self):
        if not self.knows_it():
            return
        if self.path == "/":
            # For the scopes in the answer's head.
            return self.answer(200, {})
        if self.path == "/user":
            return self.answer(200, {"login": "me"})
        self.answer(404, {"message": "Not Found"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if not self.knows_it():
            return
        if self.path == "/repos/me/app/issues":
            issues.append(body["title"])
            return self.answer(201, {"number": len(issues), "title": body["title"]})
        query = body.get("query", "")
        if "createIssue" in query:
            issues.append(body["variables"]["input"]["title"])
            made = {"issue": {"id": "I_1", "url": f"https://github.com/me/app/issues/{len(issues)}"}}
            return self.answer(200, {"data": {"createIssue": made}})
        if "issues(" in query:
            nodes = [{"number": at, "title": title, "state": "OPEN"} for at, title in enumerate(issues, 1)]
            page = {"totalCount": len(nodes), "nodes": nodes, "pageInfo": {"hasNextPage": False, "endCursor": ""}}
            return self.answer(200, {"data": {"repository": {**REPOSITORY, "issues": page}}})
        if "viewer{" in query.replace(" ", ""):
            return self.answer(200, {"data": {"viewer": {"login": "me"}}})
        self.answer(200, {"data": {"repository": REPOSITORY}})

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
