"""GitHub's GraphQL schema as a judge: what is wrong with a query, its variables and its answer.

An answer is judged by executing the query on it: whatever the schema would not have answered so comes out differently.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphql import (
    GraphQLAbstractType,
    GraphQLError,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    build_client_schema,
    execute_sync,
    parse,
    validate,
)
from graphql.execution.values import get_variable_values
from graphql.language.ast import FieldNode, SelectionSetNode

JSON = dict[str, Any]


class Schema:
    """GitHub's schema, from the answer to its introspection."""

    def __init__(self, introspection: Any) -> None:
        self._schema: GraphQLSchema = build_client_schema(introspection, assume_valid=True)

    def exchange(self, request: JSON, answer: JSON) -> Iterator[str]:
        """Yield what is wrong with a request's query and variables, and with what was answered."""
        try:
            document = parse(request["query"])
        except GraphQLError as error:
            yield str(error)
            return
        mistakes = [error.message for error in validate(self._schema, document)]
        yield from mistakes
        (operation,) = (it for it in document.definitions if isinstance(it, OperationDefinitionNode))
        variables, defined = request.get("variables") or {}, operation.variable_definitions or ()
        if mistakes:
            return
        read = get_variable_values(self._schema, defined, variables)
        if isinstance(read, list):
            yield from (error.message for error in read)
            return
        names = [it.variable.name.value for it in defined]
        yield from (f"variable {name!r} is not declared" for name in variables if name not in names)
        if answer.get("data") is None:
            if not answer.get("errors"):
                yield "the answer has neither data nor errors"
            return
        told = execute_sync(
            self._schema,
            document,
            answer["data"],
            variable_values=variables,
            field_resolver=_as_answered,
            type_resolver=_type_of,
        )
        yield from (f"answer: {error.message} at {error.path}" for error in told.errors or ())
        if not told.errors and told.data != answer["data"]:
            yield f"the answer holds what was not asked for: {answer['data']!r:.300}"


def _as_answered(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
    if not isinstance(source, dict) or info.path.key not in source:
        raise GraphQLError(f"{info.path.key!r} is missing")
    return source[str(info.path.key)]


def _type_of(value: Any, info: GraphQLResolveInfo[Any], abstract: GraphQLAbstractType) -> str:
    """Return the name of an object's type: as answered, or by the fragment whose fields were answered."""
    if "__typename" in value:
        return str(value["__typename"])
    for node in info.field_nodes:
        for part in (node.selection_set or SelectionSetNode(selections=())).selections:
            if isinstance(part, InlineFragmentNode) and part.type_condition:
                fields = [it for it in part.selection_set.selections if isinstance(it, FieldNode)]
                kind = info.schema.get_type(part.type_condition.name.value)
                if isinstance(kind, GraphQLObjectType) and all((it.alias or it.name).value in value for it in fields):
                    return kind.name
    return info.schema.get_possible_types(abstract)[0].name
