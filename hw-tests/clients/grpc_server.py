"""A gRPC server with TLS: arguments are certificate, key and the token that it wants. Says its port, and then each method it was asked for."""

import sys
from concurrent import futures

import grpc

certificate, key, token = sys.argv[1:]


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        name = details.method.rsplit("/", 1)[1]
        sent = dict(details.invocation_metadata).get("authorization")
        print(name, "known" if sent == f"Bearer {token}" else "unknown", flush=True)
        if sent != f"Bearer {token}":
            return grpc.unary_unary_rpc_method_handler(self.refuse)
        return {
            "one": grpc.unary_unary_rpc_method_handler(self.one),
            "many": grpc.unary_stream_rpc_method_handler(self.many),
            "talk": grpc.stream_stream_rpc_method_handler(self.talk),
        }.get(name)

    def refuse(self, request, context):
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")

    def one(self, request, context):
        context.set_trailing_metadata((("x-checked", "yes"),))
        return request.upper()

    def many(self, request, context):
        for number in range(3):
            yield request + str(number).encode()

    def talk(self, requests, context):
        for request in requests:
            yield request.upper()


server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
server.add_generic_rpc_handlers((Handler(),))
pair = (open(key, "rb").read(), open(certificate, "rb").read())
port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials((pair,)))
server.start()
print(port, flush=True)
server.wait_for_termination()
