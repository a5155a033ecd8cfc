"""Many prompts, several at a time; a job that was stopped goes on where it was.

Start it, stop it with Ctrl-C, start it again: what was answered is in the file, and not paid for
again.
"""

from __future__ import annotations

from client_from_args import argument_parser, chosen_client

from cloudllm_sync import MapResult

CITIES = ("Cologne", "Lisbon", "Oslo", "Ulm", "Riga", "Porto", "Turin", "Gdansk")


def show_failure(result: MapResult) -> None:
    """One that failed stops nobody."""
    print(f"[{CITIES[result.index]}: {type(result.error).__name__}: {result.error}]")


def main() -> None:
    """Ask about every city."""
    parser = argument_parser(__doc__)
    parser.add_argument("--results", metavar="FILE", default="cities.jsonl")
    arguments = parser.parse_args()
    with chosen_client(arguments) as client:
        prompts = (f"One sentence about {city}." for city in CITIES)
        results = client.map(prompts, workers=4, results=arguments.results, on_error=show_failure)
        for result in results:
            if result.message is not None:
                kept = " (kept)" if result.was_kept else ""
                print(f"{CITIES[result.index]}{kept}: {result.message.content}")


if __name__ == "__main__":
    main()
