"""Requests whose framing two implementations could read differently, as a table.

A case is the bytes of one request (`{channel}` stands for a live channel) and what the user sees:

- refused: these statuses; the connection is closed, and nothing of the request or behind it is executed.
- taken: the status; what follows is the next request, which is executed (so the planted one is known to work).
- hidden: the status; the planted request is the request's body, or follows one that is its connection's last, and isn't
  executed.
"""

import dataclasses

HOST = "Host: gateway.test\r\n"
POST = "POST /channels/{channel} HTTP/1.1\r\n"
PLANT = "{plant}"  # the planted request
BAD = (400,)


@dataclasses.dataclass
class Case:
    name: str
    request: bytes
    statuses: tuple
    kind: str = "refused"
    publishes: str = None  # taken: the payload that the case itself publishes
    piece: int = 1  # bytes at a time in the slow feed
    method: str = "GET"


CASES = []


def add(name, text, statuses=BAD, **more):
    request = text if isinstance(text, bytes) else text.encode("latin-1")
    CASES.append(Case(name, request, statuses if isinstance(statuses, tuple) else (statuses,), **more))


def post(name, fields, body="hello", statuses=BAD, **more):
    add(name, POST + HOST + "".join(field + "\r\n" for field in fields) + "\r\n" + body, statuses, **more)


def get(name, line="GET /livez HTTP/1.1", fields=(), statuses=BAD, host=True, **more):
    add(name, f"{line}\r\n" + (HOST if host else "") + "".join(field + "\r\n" for field in fields) + "\r\n", statuses,
        **more)


def chunked(name, body, statuses=BAD, **more):
    post(name, ["Transfer-Encoding: chunked"], body, statuses, **more)


# --- the length of a body

post("length-twice-the-same", ["Content-Length: 5", "Content-Length: 5"])
post("length-twice-different", ["Content-Length: 5", "Content-Length: 50"])
post("length-twice-in-other-case", ["Content-Length: 5", "cONTENT-lENGTH: 5"])
post("length-twice-zero-first", ["Content-Length: 0", "Content-Length: 5"])
post("length-and-coding", ["Content-Length: 5", "Transfer-Encoding: chunked"], "0\r\n\r\n")
post("coding-and-length", ["Transfer-Encoding: chunked", "Content-Length: 5"], "0\r\n\r\n")
post("zero-length-and-coding", ["Content-Length: 0", "Transfer-Encoding: chunked"], "0\r\n\r\n")
post("length-space-before-colon", ["Content-Length : 5"])
post("length-tab-before-colon", ["Content-Length\t: 5"])
for value in ("+5", "-5", "5,5", "5, 5", "5 5", "5 ", "5\t", "", " ", "0x5", "5;", "5.0", "5e0", '"5"', "five", "\xb5",
              "\xef\xbc\x95", "1_0"):
    post(f"length-{value!r}", [f"Content-Length: {value}"])
post("length-over-64-bits", ["Content-Length: 18446744073709551621"])
post("length-of-a-thousand-digits", ["Content-Length: " + "9" * 1000], piece=100)
post("length-over-max-body", ["Content-Length: 1048577"], statuses=(413,))
post("length-with-leading-zeros", ["Content-Length: 0005"], statuses=202, kind="taken", publishes="hello")
post("length-behind-many-spaces", ["Content-Length: \t  5"], statuses=202, kind="taken", publishes="hello")
post("length-zero", ["Content-Length: 0"], "", 202, kind="taken", publishes="")
post("no-length", [], "", 202, kind="taken", publishes="")

# --- transfer codings

for value in ("gzip", "chunked, identity", "identity, chunked", "identity", "chunked, chunked", "xchunked", "chunkedx",
              "chunked;q=1", "chunked ", "chunked\t", ",chunked", '"chunked"', "", "ch\xfcnked"):
    post(f"coding-{value!r}", [f"Transfer-Encoding: {value}"], "5\r\nhello\r\n0\r\n\r\n", (501,))
for value in ("\vchunked", "chunked\v", "\x00chunked", "chunked\x00", "chunked\rx"):
    post(f"coding-{value!r}", [f"Transfer-Encoding: {value}"], "5\r\nhello\r\n0\r\n\r\n")
post("coding-twice", ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], "0\r\n\r\n")
post("coding-twice-different", ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], "0\r\n\r\n")
post("coding-space-before-colon", ["Transfer-Encoding : chunked"], "0\r\n\r\n")
post("coding-folded", ["Transfer-Encoding:", " chunked"], "0\r\n\r\n", (400, 501))
add("coding-in-1.0", "POST /channels/{channel} HTTP/1.0\r\n" + HOST + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
post("coding-in-other-case", ["transfer-encoding: CHUNKED"], "5\r\nhello\r\n0\r\n\r\n", 202, kind="taken",
     publishes="hello")
post("compressed", ["Content-Encoding: gzip", "Content-Length: {plant_length}"], PLANT, 415, kind="hidden")
post("compressed-chunks", ["Content-Encoding: gzip", "Transfer-Encoding: chunked"],
     "{plant_chunk}\r\n" + PLANT + "\r\n0\r\n\r\n", 415, kind="hidden")

# --- chunks

for size in ("10000000000000005", "FFFFFFFFFFFFFFFF", "100000005", "00000000000000005"):
    chunked(f"chunk-size-{size}", f"{size}\r\nhello\r\n0\r\n\r\n")
for size in ("0x5", "+5", "-5", " 5", "5 ", "5\t", "5 ;a", "", "five", "5,", "\xb5", "5\x00"):
    chunked(f"chunk-size-{size!r}", f"{size}\r\nhello\r\n0\r\n\r\n")
chunked("chunk-size-ends-in-lf", "5\nhello\r\n0\r\n\r\n")
chunked("chunk-size-ends-in-cr", "5\rhello\r\n0\r\n\r\n")
chunked("chunk-size-ends-in-cr-cr-lf", "5\r\r\nhello\r\n0\r\n\r\n")
chunked("chunk-over-max-body", "100001\r\n", (413,))
chunked("chunks-over-max-body", ("80000\r\n" + "x" * 0x80000 + "\r\n") * 2 + "1\r\nx\r\n0\r\n\r\n", (413,), piece=65536)
chunked("extension-with-lf", "5;a\nb\r\nhello\r\n0\r\n\r\n")
chunked("extension-with-cr", "5;a\rb\r\nhello\r\n0\r\n\r\n")
chunked("extension-with-nul", "5;a\x00b\r\nhello\r\n0\r\n\r\n")
chunked("extension-ends-in-lf", "5;\nhello\r\n0\r\n\r\n")
chunked("extension-too-long", "5;" + "a" * 300 + "\r\nhello\r\n0\r\n\r\n")
chunked("extensions-of-many-chunks", "1;0123456789\r\nx\r\n" * 40 + "0\r\n\r\n")
chunked("chunk-without-its-end", "5\r\nhello0\r\n\r\n")
chunked("chunk-longer-than-its-size", "5\r\nhello!\r\n0\r\n\r\n")
chunked("chunk-ends-in-lf", "5\r\nhello\n0\r\n\r\n")
chunked("chunk-ends-in-cr", "5\r\nhello\r0\r\n\r\n")
chunked("chunk-shorter-than-its-size", "6\r\nhello\r\n0\r\n\r\n")
chunked("last-chunk-ends-in-lf", "5\r\nhello\r\n0\n\n")
chunked("last-chunk-without-its-line", "5\r\nhello\r\n0\r\nX")
chunked("trailer", "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")
chunked("trailer-content-length", "5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n")
chunked("trailer-folded", "5\r\nhello\r\n0\r\n X\r\n\r\n")
chunked("extension", "5;a=b\r\nhello\r\n0;c\r\n\r\n", 202, kind="taken", publishes="hello")
chunked("last-chunk-of-many-zeros", "5\r\nhello\r\n0000\r\n\r\n", 202, kind="taken", publishes="hello")
chunked("chunks-of-one-byte", "".join(f"1\r\n{byte}\r\n" for byte in "hello") + "0\r\n\r\n", 202, kind="taken",
        publishes="hello")

# --- Host

get("host-missing", host=False)
get("host-twice", fields=["Host: gateway.test"])
get("host-twice-different", fields=["Host: other"])
get("host-twice-in-1.0", "GET /livez HTTP/1.0", fields=["Host: other"])
for value in ("a b", "a@b", "a/b", "a\\b", "a,b", "http://a", "a?b", "a#b", "<a>", "\xe9", "a\tb", "a ", "a\x00b"):
    get(f"host-{value!r}", fields=[f"Host: {value}"], host=False)
get("host-space-before-colon", fields=["Host : a"], host=False)
get("host-folded", fields=["Host:", " a"], host=False)
get("host-hidden-by-a-line-feed", fields=["X: y\nHost: a"], host=False)
get("host-missing-in-1.0", "GET /livez HTTP/1.0", ["Connection: keep-alive"], 200, host=False, kind="taken")
get("host-empty", fields=["Host:"], host=False, statuses=200, kind="taken")
get("host-ipv6-and-port", fields=["Host: [::1]:8080"], host=False, statuses=200, kind="taken")

# --- lines

add("line-feeds-only", "GET /livez HTTP/1.1\nHost: a\n\n")
add("line-feed-behind-the-request-line", "GET /livez HTTP/1.1\nHost: a\r\n\r\n")
add("line-feed-behind-a-field", "GET /livez HTTP/1.1\r\nHost: a\nX: y\r\n\r\n")
add("line-feed-ends-the-head", "GET /livez HTTP/1.1\r\nHost: a\r\n\n")
add("line-feed-and-cr-end-the-head", "GET /livez HTTP/1.1\r\nHost: a\r\n\n\r")
add("cr-in-the-target", "GET /li\rvez HTTP/1.1\r\nHost: a\r\n\r\n")
add("cr-behind-the-target", "GET /livez\rHTTP/1.1\r\nHost: a\r\n\r\n")
add("cr-in-a-name", "GET /livez HTTP/1.1\r\nHost: a\r\nX\rY: z\r\n\r\n")
add("cr-in-a-value", "GET /livez HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 50\r\n\r\n")
add("cr-cr-lf", "GET /livez HTTP/1.1\r\r\nHost: a\r\r\n\r\r\n")
add("cr-only", "GET /livez HTTP/1.1\rHost: a\r\r")
add("folded-with-a-space", "GET /livez HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n")
add("folded-with-a-tab", "GET /livez HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n")
add("folded-first-field", "GET /livez HTTP/1.1\r\n Host: a\r\n\r\n")
add("folded-length", POST + HOST + "X: y\r\n Content-Length: 5\r\n\r\nhello")
add("line-of-a-space", "GET /livez HTTP/1.1\r\nHost: a\r\n \r\n\r\n")
add("empty-line-first", "\r\nGET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
add("line-feed-first", "\nGET /livez HTTP/1.1\r\nHost: a\r\n\r\n")

# --- fields

for name in ("X Y", "X\t", "", "X\x00", "X\x7f", "X\xe9", "X(", "X/", "X;", "\x0bX", "@X", "[X"):
    get(f"name-{name!r}", fields=[f"{name}: z"])
get("field-without-a-colon", fields=["X"])
for byte in (0, 1, 8, 11, 12, 27, 127):
    get(f"value-with-byte-{byte}", fields=[f"X: a{chr(byte)}b"])
for field in ("Content-Type: text/plain", "Content-Encoding: identity", "Authorization: Bearer a", "Cookie: a=b",
              "Origin: http://a", "Idempotency-Key: a", "Last-Event-ID: 1", "Expect: 100-continue"):
    post(f"twice-{field.partition(':')[0]}", [field, field.swapcase(), "Content-Length: 5"],
         statuses=(400, 417) if field.startswith("Expect") else BAD)
get("value-with-obs-text", fields=["X: \xe9\xff\x80"], statuses=200, kind="taken")
get("value-with-tabs", fields=["X:\ta\tb"], statuses=200, kind="taken")
get("value-empty", fields=["X:"], statuses=200, kind="taken")
get("name-of-all-token-bytes", fields=["!#$%&'*+-.^_`|~0aZ: y"], statuses=200, kind="taken")
get("a-hundred-fields", fields=["a:"] * 99, statuses=200, kind="taken")
get("too-many-fields", fields=["a:"] * 100, statuses=(431,))
get("too-many-fields-by-far", fields=["a:"] * 3000, statuses=(431,), piece=500)
get("field-too-long", fields=["X: " + "y" * 20000], statuses=(431,), piece=1000)
get("name-too-long", fields=["y" * 20000 + ": z"], statuses=(431,), piece=1000)
get("fields-too-long-together", fields=[f"X-{n}: " + "y" * 1000 for n in range(20)], statuses=(431,), piece=1000)
get("expectation-unknown", fields=["Expect: 200-ok"], statuses=(417,))
get("expectation-with-space", fields=["Expect: 100-continue "], statuses=(417,))

# --- the request line

for line in ("GET http://gateway.test/livez HTTP/1.1", "GET https://gateway.test/livez HTTP/1.1",
             "GET //gateway.test HTTP/1.1\x0b", "CONNECT gateway.test:80 HTTP/1.1", "GET gateway.test:80 HTTP/1.1",
             "GET * HTTP/1.1", "OPTIONS ** HTTP/1.1", "OPTIONS *?a HTTP/1.1", "GET livez HTTP/1.1", "GET ?a HTTP/1.1",
             "GET \\livez HTTP/1.1", "GET /livez#a HTTP/1.1", "GET /li vez HTTP/1.1", "GET  /livez HTTP/1.1",
             "GET /livez  HTTP/1.1", " GET /livez HTTP/1.1", "\tGET /livez HTTP/1.1", "GET\t/livez HTTP/1.1",
             "GET /livez\tHTTP/1.1", "GET\x0b/livez HTTP/1.1", "GET /livez HTTP/1.1 ", "GET /livez HTTP/1.1\t",
             "GET /livez HTTP/1.10", "GET /livez HTTP/1.1x", "GET /livez http/1.1", "GET /livez HTTP 1.1",
             "GET /livez HTTPS/1.1", "GET /livez FTP/1.1", "GET /livez ", "GET /livez", "GET", "GET ", "/livez HTTP/1.1",
             "G\x00T /livez HTTP/1.1", "GE(T /livez HTTP/1.1", "G\xc9T /livez HTTP/1.1", "GET\x00 /livez HTTP/1.1",
             "GET /li\x00vez HTTP/1.1", "GET /li\x7fvez HTTP/1.1", "GET /livez\x00 HTTP/1.1", "GET /livez HTTP/1.1\x00",
             "\x00GET /livez HTTP/1.1", "GET /livez HTTP/1", "GET /livez HTTP/-1.1"):
    get(f"line-{line!r}", line, statuses=(400, 505))
for version in ("0.9", "1.2", "1.9", "2", "2.0", "3.0", "9.9"):
    get(f"version-{version}", f"GET /livez HTTP/{version}", statuses=(505,))
for target in ("/livez%00", "/livez?a=%00", "/%00", "/livez%0d%0aX:%20y", "/livez%7f", "/livez%", "/livez%2", "/livez%zz",
               "/livez?%g0", "/.", "/..", "/./livez", "/../livez", "/a/../livez", "/channels/t/../livez", "/livez/..",
               "/livez/.", "/%2e%2e/livez", "/.%2e/livez", "/%2E./livez", "/%2e/livez", "/a%2f..%2flivez", "/a%2F%2e%2e",
               "/..?a", "/channels/t/%2e%2e/%2e%2e/livez"):
    get(f"target-{target}", f"GET {target} HTTP/1.1")
get("method-too-long", "G" * 20000 + " /livez HTTP/1.1", statuses=(414,), piece=1000)
get("target-too-long", "GET /" + "a" * 20000 + " HTTP/1.1", statuses=(414,), piece=1000)
get("query-too-long", "GET /livez?" + "a=b&" * 5000 + " HTTP/1.1", statuses=(414,), piece=1000)
get("query-with-dots", "GET /livez?../%2e%2e/.. HTTP/1.1", statuses=(200, 400), kind="taken")
get("upgrade", fields=["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"],
    statuses=200, kind="taken")
get("underscored-length", fields=["Content_Length: 50"], statuses=200, kind="taken")

# --- other protocols

add("http-0.9", "GET /livez\r\n")
add("http-2-preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", (400, 505))
add("tls-hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)))
add("ssh", b"SSH-2.0-OpenSSH_9.2\r\n", (400,))
add("postgres", bytes.fromhex("0000000804d2162f"))
add("proxy-protocol", "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nGET /livez HTTP/1.1\r\nHost: a\r\n\r\n", (400, 505))
add("proxy-protocol-2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12))
add("websocket-frame", b"\x81\x85\0\0\0\0hello")

# --- a request in a body

get("get-with-a-body", fields=["Content-Length: {plant_length}"], statuses=(200, 400), kind="hidden")
CASES[-1].request += PLANT.encode()
for name, line, status in (("head", "HEAD /livez HTTP/1.1", 200), ("options", "OPTIONS /events HTTP/1.1", 204),
                           ("delete", "DELETE /events HTTP/1.1", 405), ("nowhere", "POST /nowhere HTTP/1.1", 404),
                           ("unknown-channel", "POST /channels/elsewhere HTTP/1.1", 404),
                           ("wildcard", "POST /channels/t/** HTTP/1.1", 400),
                           ("poll", "GET /channels/{channel}?format=poll HTTP/1.1", 200)):
    get(f"{name}-with-a-body", line, ["Content-Length: {plant_length}"], status, kind="hidden", method=line.split()[0])
    CASES[-1].request += PLANT.encode()
    get(f"{name}-with-a-chunked-body", line, ["Transfer-Encoding: chunked"], status, kind="hidden",
        method=line.split()[0])
    CASES[-1].request += ("{plant_chunk}\r\n" + PLANT + "\r\n0\r\n\r\n").encode()
post("type-that-is-refused", ["Content-Type: image/png", "Content-Length: {plant_length}"], PLANT, 415, kind="hidden")
post("json-that-is-none", ["Content-Type: application/json", "Content-Length: {plant_length}"], PLANT, 400,
     kind="hidden")
post("expectation-answered-finally",
     ["Expect: 100-continue", "Content-Encoding: gzip", "Content-Length: {plant_length}"], PLANT, 415, kind="hidden")
for name, line, status in (("stream", "GET /channels/{channel}/stream HTTP/1.1", 200),
                           ("asterisk", "OPTIONS * HTTP/1.1", 204), ("unknown-method", "BREW /livez HTTP/1.1", 405)):
    get(f"behind-a-{name}", line, statuses=status, kind="hidden", method="HEAD" if name == "stream" else "OPTIONS")
    CASES[-1].request += PLANT.encode()
get("stream-with-a-body", "GET /channels/{channel}/stream HTTP/1.1", ["Content-Length: {plant_length}"], 200,
    kind="hidden", method="HEAD")
CASES[-1].request += PLANT.encode()

assert len({case.name for case in CASES}) == len(CASES)
