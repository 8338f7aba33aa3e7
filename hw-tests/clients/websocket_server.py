"""A WebSocket server with TLS: arguments are certificate, key and the token that it wants. Says its port, and then what each client was."""

import ssl
import sys

from websockets.sync.server import serve

certificate, key, token = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)


def check(connection, request):
    known = request.headers.get("Authorization") == f"Bearer {token}"
    print("known" if known else "unknown", flush=True)
    return None if known else connection.respond(401, "who are you\n")


def talk(connection):
    for message in connection:
        connection.send(token if message == "show" else message.upper())


with serve(talk, "127.0.0.1", 0, ssl=context, process_request=check) as server:
    print(server.socket.getsockname()[1], flush=True)
    server.serve_forever()
