# A plugin written by hand from ABI.md alone, with no SDK: it allows requests whose
# text begins with S, and redacts every value that it is given.

# section finds a section of the input.
# (from, end, tag) -> (where its contents are, or 0)
	.functype section (i32, i32, i32) -> (i32)
section:
	.functype section (i32, i32, i32) -> (i32)
	loop
	local.get 0
	local.get 1
	i32.ge_u
	if
	i32.const 0
	return
	end_if
	local.get 0
	i32.load 0
	local.get 2
	i32.eq
	if
	local.get 0
	i32.const 8
	i32.add
	return
	end_if
	# Contents are padded to a multiple of 4.
	local.get 0
	i32.const 11
	i32.add
	local.get 0
	i32.load 4
	i32.add
	i32.const -4
	i32.and
	local.set 0
	br 0
	end_loop
	unreachable
	end_function

# leb reads a number at the address in next, and moves next behind it.
	.functype leb () -> (i32)
leb:
	.functype leb () -> (i32)
	.local i32, i32, i32, i32
	i32.const next
	i32.load 0
	local.set 0
	loop
	local.get 0
	i32.load8_u 0
	local.tee 3
	i32.const 127
	i32.and
	local.get 2
	i32.shl
	local.get 1
	i32.or
	local.set 1
	local.get 2
	i32.const 7
	i32.add
	local.set 2
	local.get 0
	i32.const 1
	i32.add
	local.set 0
	local.get 3
	i32.const 128
	i32.and
	br_if 0
	end_loop
	i32.const next
	local.get 0
	i32.store 0
	local.get 1
	end_function

# packed is what a hook returns: where its answer is, and how long.
	.functype packed (i32, i32) -> (i64)
packed:
	.functype packed (i32, i32) -> (i64)
	local.get 0
	i64.extend_i32_u
	i64.const 32
	i64.shl
	local.get 1
	i64.extend_i32_u
	i64.or
	end_function

	.globl abi_version
	.export_name abi_version, abi_version
	.type abi_version,@function
abi_version:
	.functype abi_version () -> (i32)
	i32.const 65536
	end_function

# buffer takes new memory for n bytes, and as much again seven times for an answer.
	.globl buffer
	.export_name buffer, buffer
	.type buffer,@function
buffer:
	.functype buffer (i32) -> (i32)
	.local i32
	local.get 0
	i32.const 3
	i32.shl
	i32.const 16
	i32.shr_u
	i32.const 1
	i32.add
	memory.grow 0
	local.tee 1
	i32.const -1
	i32.eq
	if
	unreachable
	end_if
	i32.const input
	local.get 1
	i32.const 16
	i32.shl
	local.tee 1
	i32.store 0
	i32.const answer
	local.get 1
	local.get 0
	i32.add
	i32.store 0
	local.get 1
	end_function

	.globl on_request
	.export_name on_request, on_request
	.type on_request,@function
on_request:
	.functype on_request (i32) -> (i64)
	.local i32, i32, i32
	# The request is section 3, the payload its element 2.
	i32.const input
	i32.load 0
	local.tee 1
	local.get 1
	local.get 0
	i32.add
	i32.const 3
	call section
	local.tee 1
	i32.eqz
	if
	i64.const -1
	return
	end_if
	i32.const next
	local.get 1
	i32.store 0
	local.get 1
	local.get 1
	i32.const -4
	i32.add
	i32.load 0
	i32.add
	local.set 2
	loop
	i32.const next
	i32.load 0
	local.get 2
	i32.lt_u
	if
	call leb
	local.set 1
	call leb
	local.set 3
	local.get 1
	i32.const 2
	i32.eq
	if
	local.get 3
	i32.eqz
	if
	i32.const blocks
	i32.const 12
	call packed
	return
	end_if
	i32.const next
	i32.load 0
	i32.load8_u 0
	i32.const 83
	i32.eq
	if
	i32.const allows
	i32.const 12
	call packed
	return
	end_if
	i32.const blocks
	i32.const 12
	call packed
	return
	end_if
	i32.const next
	i32.const next
	i32.load 0
	local.get 3
	i32.add
	i32.store 0
	br 1
	end_if
	end_loop
	i64.const -1
	end_function

# on_head answers inspect for each field: section 35, and of it an element 1 for each.
	.globl on_head
	.export_name on_head, on_head
	.type on_head,@function
on_head:
	.functype on_head (i32) -> (i64)
	.local i32, i32, i32, i32
	i32.const input
	i32.load 0
	local.tee 1
	local.get 1
	local.get 0
	i32.add
	i32.const 4
	call section
	local.tee 1
	i32.eqz
	if
	i64.const -1
	return
	end_if
	i32.const next
	local.get 1
	i32.store 0
	local.get 1
	local.get 1
	i32.const -4
	i32.add
	i32.load 0
	i32.add
	local.set 2
	i32.const answer
	i32.load 0
	i32.const 8
	i32.add
	local.set 4
	loop
	i32.const next
	i32.load 0
	local.get 2
	i32.lt_u
	if
	call leb
	local.set 1
	call leb
	local.set 3
	i32.const next
	i32.const next
	i32.load 0
	local.get 3
	i32.add
	i32.store 0
	local.get 1
	i32.const 1
	i32.eq
	if
	local.get 4
	i32.const 0x01010301
	i32.store 0:p2align=0
	local.get 4
	i32.const 5
	i32.store8 4
	local.get 4
	i32.const 5
	i32.add
	local.set 4
	end_if
	br 1
	end_if
	end_loop
	# The header, and zeros behind.
	local.get 4
	i32.const 0
	i32.store 0:p2align=0
	i32.const answer
	i32.load 0
	local.tee 1
	i32.const 35
	i32.store 0
	local.get 1
	local.get 4
	local.get 1
	i32.sub
	i32.const -8
	i32.add
	i32.store 4
	local.get 1
	local.get 4
	local.get 1
	i32.sub
	i32.const 3
	i32.add
	i32.const -4
	i32.and
	call packed
	end_function

# on_rows answers an edit for each value: section 36, and of it 28 bytes for each.
	.globl on_rows
	.export_name on_rows, on_rows
	.type on_rows,@function
on_rows:
	.functype on_rows (i32) -> (i64)
	.local i32, i32, i32, i32, i32, i32, i32, i32
	# 1 end, 2 rows, 3 fields, 4 offsets, 5 nulls, 6 row, 7 field, 8 edit
	i32.const input
	i32.load 0
	local.get 0
	i32.add
	local.set 1
	i32.const input
	i32.load 0
	local.get 1
	i32.const 8
	call section
	local.tee 2
	i32.load 4
	local.set 3
	local.get 2
	i32.load 0
	local.set 2
	i32.const input
	i32.load 0
	local.get 1
	i32.const 9
	call section
	local.set 4
	i32.const input
	i32.load 0
	local.get 1
	i32.const 10
	call section
	local.set 5
	i32.const answer
	i32.load 0
	i32.const 8
	i32.add
	local.set 8
	loop
	# The cell's index is 0 from here on.
	local.get 6
	local.get 3
	i32.mul
	local.get 7
	i32.add
	local.set 0
	local.get 5
	local.get 0
	i32.const 5
	i32.shr_u
	i32.const 2
	i32.shl
	i32.add
	i32.load 0
	local.get 0
	i32.const 31
	i32.and
	i32.shr_u
	i32.const 1
	i32.and
	i32.eqz
	if
	local.get 8
	i32.const 0
	i32.const 28
	memory.fill 0
	local.get 8
	local.get 6
	i32.store 0
	local.get 8
	local.get 7
	i32.store 4
	local.get 8
	local.get 4
	local.get 0
	i32.const 2
	i32.shl
	i32.add
	local.tee 0
	i32.load 4
	local.get 0
	i32.load 0
	i32.sub
	i32.store 12
	local.get 8
	i32.const 1
	i32.store8 16
	local.get 8
	i32.const 28
	i32.add
	local.set 8
	end_if
	local.get 7
	i32.const 1
	i32.add
	local.tee 7
	local.get 3
	i32.lt_u
	br_if 0
	i32.const 0
	local.set 7
	local.get 6
	i32.const 1
	i32.add
	local.tee 6
	local.get 2
	i32.lt_u
	br_if 0
	end_loop
	i32.const answer
	i32.load 0
	local.tee 0
	i32.const 36
	i32.store 0
	local.get 0
	local.get 8
	local.get 0
	i32.sub
	i32.const -8
	i32.add
	local.tee 1
	i32.store 4
	# No edits is no section.
	local.get 1
	i32.eqz
	if
	i64.const 0
	return
	end_if
	local.get 0
	local.get 8
	local.get 0
	i32.sub
	call packed
	end_function

# The answers of on_request: section 34, a verdict whose action is 2, or 0.
	.section .rodata,"",@
	.p2align 2
allows:
	.int32 34
	.int32 3
	.int8 1
	.int8 1
	.int8 2
	.int8 0
	.size allows, 12
blocks:
	.int32 34
	.int32 3
	.int8 1
	.int8 1
	.int8 0
	.int8 0
	.size blocks, 12

	.section .bss,"",@
	.p2align 2
input:
	.int32 0
	.size input, 4
answer:
	.int32 0
	.size answer, 4
next:
	.int32 0
	.size next, 4
