#!/usr/bin/env node
// A plugin of protoc and buf: what types the fields of every request have, so that the client can check what callers who have no
// compiler put into them. ts-proto's code says it in types only.
import { readFileSync, writeFileSync } from 'node:fs';
import { createFileRegistry, create, fromBinary, ScalarType, toBinary } from '@bufbuild/protobuf';
import {
  CodeGeneratorRequestSchema,
  CodeGeneratorResponse_Feature,
  CodeGeneratorResponseSchema,
  FileDescriptorSetSchema,
} from '@bufbuild/protobuf/wkt';

/** ts-proto writes it as what is in it. */
const FIELD_MASK = 'google.protobuf.FieldMask';

const request = fromBinary(CodeGeneratorRequestSchema, readFileSync(0));
const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: request.protoFile }));
const requests = {};
const messages = {};

for (const name of request.fileToGenerate) {
  for (const service of registry.getFile(name).services) {
    if (!service.typeName.startsWith('shardkeep.')) continue;
    for (const method of service.methods) {
      requests[`${service.typeName}/${method.name}`] = method.input.typeName;
      addMessage(method.input);
    }
  }
}

function addMessage(message) {
  if (message.typeName in messages) return;
  const fields = (messages[message.typeName] = {});
  for (const member of message.members) {
    if (member.kind === 'oneof') {
      fields[member.localName] = Object.fromEntries(member.fields.map((field) => [field.localName, typeOf(field)]));
    } else {
      fields[member.localName] = typeOf(member);
    }
  }
}

/** A scalar, `enum` or the name of a message; `[]` after it for a list, `{}` for a map with texts as keys, `?` where it may be absent. */
function typeOf(field) {
  if (field.message?.typeName === FIELD_MASK) return 'string[]?';
  if (field.fieldKind === 'list') return `${single(field.listKind, field)}[]`;
  if (field.fieldKind === 'map') return `${single(field.mapKind, field)}{}`;
  const canBeAbsent = field.message !== undefined || field.proto.proto3Optional;
  return single(field.fieldKind, field) + (canBeAbsent ? '?' : '');
}

function single(kind, field) {
  if (kind === 'enum') return 'enum';
  if (kind === 'scalar') return ScalarType[field.scalar].toLowerCase();
  addMessage(field.message);
  return field.message.typeName;
}

const content = `/** The message that each RPC is asked with. */
export const REQUESTS: Readonly<Record<string, string>> = ${JSON.stringify(requests, undefined, 2)};

/** The types of the fields of every message in them; of a oneof, those of its cases. */
export const MESSAGES: Readonly<Record<string, Readonly<Record<string, string | Readonly<Record<string, string>>>>>> =
  ${JSON.stringify(messages, undefined, 2)};
`;
const response = create(CodeGeneratorResponseSchema, {
  supportedFeatures: BigInt(CodeGeneratorResponse_Feature.PROTO3_OPTIONAL),
  file: [{ name: 'request-shapes.ts', content }],
});
writeFileSync(1, toBinary(CodeGeneratorResponseSchema, response));
