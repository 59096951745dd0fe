"""Makes an environment of a package that a test wrote: ``python -m tests.verification.environments.making WHEELS [SECONDS]``.

It prints the environment's interpreter; before it renames what it made it waits so many seconds.
"""

import os
import sys
import time

from harness.verification.environments import store
from harness.verification.environments.recipes import Recipe
from harness.verification.environments.release import Release

RELEASE = Release("transformers", "9.9.9")


def main() -> None:
    os.environ.update({"UV_FIND_LINKS": sys.argv[1], "UV_NO_INDEX": "1"})
    store.recipe = lambda release: Recipe((str(release),), (), "", cpu=False)
    if len(sys.argv) > 2:
        install = store.uv.install

        def slowly(*arguments: object) -> None:
            install(*arguments)
            print("installed", flush=True)
            time.sleep(float(sys.argv[2]))

        store.uv.install = slowly
    print(store.make(RELEASE).python, flush=True)


if __name__ == "__main__":
    main()
