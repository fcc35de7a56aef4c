// Work for the rewriter's tests, built to work-c.wasm by
//
//	clang --target=wasm32 -mbulk-memory -msimd128 -O2 -nostdlib -Wl,--no-entry -o work-c.wasm work.c

#define EXPORT(name) __attribute__((export_name(#name)))

typedef unsigned char u8;
typedef unsigned int u32;

static u8 text[1 << 16];
static u32 numbers[1 << 12];

EXPORT(fill) void fill(u32 seed) {
	for (u32 i = 0; i < sizeof text; i++) {
		seed = seed * 1664525 + 1013904223;
		text[i] = (seed >> 24) % 37 == 0 ? '@' : (seed >> 24) % 26 + 'a';
	}
	for (u32 i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		seed = seed * 1664525 + 1013904223;
		numbers[i] = seed;
	}
}

// scan counts words around an @.
EXPORT(scan) u32 scan(u32 n) {
	u32 found = 0;
	for (u32 i = 1; i < n; i++)
		if (text[i] == '@') {
			u32 from = i, to = i;
			while (from > 0 && text[from - 1] >= 'a' && text[from - 1] <= 'z') from--;
			while (to + 1 < n && text[to + 1] >= 'a' && text[to + 1] <= 'z') to++;
			if (to > i && from < i) found++;
		}
	return found;
}

static void quicksort(u32 *a, int n) {
	while (n > 1) {
		u32 pivot = a[n / 2];
		int i = 0, j = n - 1;
		while (i <= j) {
			while (a[i] < pivot) i++;
			while (a[j] > pivot) j--;
			if (i <= j) {
				u32 x = a[i];
				a[i++] = a[j];
				a[j--] = x;
			}
		}
		quicksort(a, j + 1);
		a += i;
		n -= i;
	}
}

EXPORT(sort) u32 sort(u32 seed) {
	fill(seed);
	quicksort(numbers, sizeof numbers / sizeof *numbers);
	u32 h = 0;
	for (u32 i = 0; i < sizeof numbers / sizeof *numbers; i++) h = h * 31 + numbers[i];
	return h;
}

EXPORT(fibonacci) u32 fibonacci(u32 n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

EXPORT(copy) u32 copy(u32 n) {
	for (u32 i = 0; i < n; i++) __builtin_memmove(text, text + (i & 63), sizeof text - 64);
	return text[7];
}

// A machine with a dispatching switch.
EXPORT(machine) u32 machine(u32 n) {
	u32 a = 1, b = 2, pc = 0;
	while (n--) {
		switch (text[pc++ & 0xffff]) {
		case 'a': a += b; break;
		case 'b': b ^= a; break;
		case 'c': a = a << 3 | a >> 29; break;
		case 'd': b *= 5; break;
		case 'e': a -= 7; break;
		case 'f': pc += a & 15; break;
		case 'g': b += text[a & 0xffff]; break;
		case 'h': a = a * 17 + 1; break;
		case 'i': if (a & 1) b++; break;
		case '@': a ^= b << 1; break;
		default: a++;
		}
	}
	return a ^ b;
}
