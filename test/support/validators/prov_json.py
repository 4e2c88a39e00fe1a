"""Reads a PROV-JSON file with the package prov, writes it again and compares.

Usage: prov_json.py FILE
Prints how many records of each kind it holds, as JSON.
"""

import collections
import json
import sys

from prov.model import ProvDocument

document = ProvDocument.deserialize(sys.argv[1])
again = ProvDocument.deserialize(content=document.serialize())
if document != again:
    sys.exit("the document is not the same after a round trip")
kinds = collections.Counter(type(record).__name__ for record in document.unified().get_records())
print(json.dumps(kinds))
