"""`python -m fastconv info`: what was built and what runs."""

import argparse

import fastconv


def main():
    parser = argparse.ArgumentParser(prog="python -m fastconv", description=__doc__)
    parser.add_argument("command", choices=["info"], help="info: ISA, OpenMP and threads in use and available")
    parser.parse_args()
    fastconv.show_config()


if __name__ == "__main__":
    main()
