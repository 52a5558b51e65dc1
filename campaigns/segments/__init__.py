"""The segment language: parsed, told in plain words, compiled to a question that the scope answers."""
