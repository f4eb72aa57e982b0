#!/usr/bin/env bash
# transformers 5.23.0: apply_chat_template hands template variables over as plain data. A function among them, such as
# a strftime_now of one's own to pin the date that Llama 3 and Granite templates write, arrives as the text
# "<function>", and the template fails with TypeError. transformers 4.57.1 calls it. A text is handed over by both.
# Exit code 1 when this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/try.py" <<'PY'
import sys

import transformers
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), eos_token="</s>")
tokenizer.chat_template = "Today Date: {{ strftime_now('%d %b %Y') }} {{ day }} {{ messages[0]['content'] }}"
try:
    found = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, day="07 Jun 2031", strftime_now=lambda form: "07 Jun 2031"
    )
except TypeError as error:
    found = f"TypeError: {error}"
print(f"transformers {transformers.__version__}: {found}")
sys.exit(found != sys.argv[1])
PY
try() {
  python3 -m venv "$folder/$1"
  "$folder/$1/bin/pip" install -q --disable-pip-version-check "$1" jinja2==3.1.6
  "$folder/$1/bin/python" "$folder/try.py" "$2" 2>/dev/null
}
try transformers==4.57.1 "Today Date: 07 Jun 2031 07 Jun 2031 Hi" || { echo "changed"; exit 1; }
try transformers==5.23.0 "TypeError: 'str' object is not callable" || { echo "changed"; exit 1; }
echo "finding holds: transformers 5.23.0 hands a function to a chat template as text, 4.57.1 calls it"
