"""An OpenID Connect relying party, of PyJWT alone: relying-party.py FOLDER ISSUER AUDIENCE < TOKEN

Reads the discovery document and the keys as they lie below FOLDER, where a web server would serve them for ISSUER. Prints the claims of
the token as JSON, or the name of the error with which PyJWT refuses it, and then ends with 1.
"""
import json
import sys
from pathlib import Path

import jwt


def main():
    folder, issuer, audience = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    said = json.loads((folder / ".well-known/openid-configuration").read_text())
    if said["issuer"] != issuer or not said["jwks_uri"].startswith(issuer + "/"):
        sys.exit("the discovery document is of another issuer")
    keys = jwt.PyJWKSet.from_json((folder / said["jwks_uri"].removeprefix(issuer + "/")).read_text())
    token = sys.stdin.read().removesuffix("\n")
    try:
        key = keys[jwt.get_unverified_header(token)["kid"]]
        needed = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"]
        algorithms = said["id_token_signing_alg_values_supported"]
        claims = jwt.decode(token, key, algorithms, {"require": needed, "strict_aud": True}, audience=audience, issuer=issuer)
    except (jwt.PyJWTError, KeyError) as error:
        print(type(error).__name__)
        sys.exit(1)
    print(json.dumps(claims))


main()
