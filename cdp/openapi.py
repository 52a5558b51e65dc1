"""What is added to the OpenAPI document once every app has told its paths."""

import msgspec

from profiles.wire import ProblemAnswer

# What a path of the back office may answer beside what it is asked for.
OF_THE_OFFICE = {
    "400": "A parameter is not of the documented shape",
    "401": "E-mail and password are missing or wrong",
    "403": "The role does not allow it",
    "404": "Nothing of that name or number can be seen from here, or the page does not exist",
    "503": "The database is away or too slow now: come back after `Retry-After`",
}


def add_office_problems(result: dict, generator, request, public) -> dict:
    """Post-processing hook: the problems of every operation that tells none of its own."""
    (reference,), components = msgspec.json.schema_components(
        [ProblemAnswer], ref_template="#/components/schemas/{name}"
    )
    result["components"]["schemas"].update(components)
    content = {"application/problem+json": {"schema": reference}}
    for operations in result["paths"].values():
        for operation in operations.values():
            responses = operation["responses"]
            if not any(status >= "400" for status in responses):
                for status, text in OF_THE_OFFICE.items():
                    responses[status] = {"description": text, "content": content}
    return result
