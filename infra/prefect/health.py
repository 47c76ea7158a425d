"""Ends with 0 where a server answers: `python health.py URL [VARIABLE]`, the variable holding user:password."""

import base64
import os
import sys
import urllib.request

request = urllib.request.Request(sys.argv[1])
if len(sys.argv) > 2:
    request.add_header("Authorization", "Basic " + base64.b64encode(os.environ[sys.argv[2]].encode()).decode())
urllib.request.urlopen(request, timeout=5)
