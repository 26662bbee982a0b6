// SPDX-License-Identifier: MIT
/*
 * symbol.c - code by its address: the file's name, the function's, the line.
 *
 * dladdr(3) knows what is exported only, nothing of a static executable, and takes the loader's lock, which a task that
 * sleeps in the kernel may hold. So the files are found in /proc/self/maps, mapped once more, whole, and read by us:
 * .symtab, or .dynsym where that was stripped, and .debug_line where the program was built with -g. They stay mapped.
 *
 * Nothing in them is trusted: each read is bounded by the file's own size.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "symbol.h"

#define MODULES		256	/* executable segments; the rest is unknown code */
#define CACHE		512	/* addresses whose places are remembered: stacks are alike */
#define PATH		1024
#define LINES_MAX	(64u << 20)	/* bytes of .debug_line that are worth a search */

static struct module modules[MODULES];
static unsigned int nmodules;
static char names[MODULES * 48];
static size_t names_used;

static struct {
	uintptr_t pc;
	struct place place;
} cache[CACHE];

/* ---- the files --------------------------------------------------------------------------------------------------- */

static struct bytes part(struct bytes file, uint64_t offset, uint64_t size)
{
	struct bytes b = bytes_from(file, offset);

	return get_bytes(&b, size);
}

/* A header of the file, wherever it lies: NULL if it is not all there. */
static const void *header(struct bytes file, uint64_t offset, size_t size)
{
	struct bytes b = part(file, offset, size);

	return (size_t)(b.end - b.p) == size && !((uintptr_t)b.p & 7) ? b.p : NULL;
}

static const Elf64_Phdr *segment(const struct module *m, unsigned int i)
{
	const Elf64_Ehdr *e = (const void *)m->file.p;

	if (i >= e->e_phnum)
		return NULL;
	return header(m->file, e->e_phoff + (uint64_t)i * sizeof(Elf64_Phdr), sizeof(Elf64_Phdr));
}

struct bytes module_at(const struct module *m, uintptr_t addr)
{
	const Elf64_Phdr *p;
	struct bytes b;
	unsigned int i;

	for (i = 0; (p = segment(m, i)); i++)
		if (p->p_type == PT_LOAD && addr >= p->p_vaddr && addr - p->p_vaddr < p->p_filesz) {
			b = part(m->file, p->p_offset, p->p_filesz);
			return bytes_from(b, addr - p->p_vaddr);
		}
	return (struct bytes){ m->file.end, m->file.end };
}

static void read_sections(struct module *m)
{
	const Elf64_Ehdr *e = (const void *)m->file.p;
	const Elf64_Shdr *s, *strings, *found = NULL;
	struct bytes names_of, b;
	const char *name;
	unsigned int i;

	if (e->e_shentsize != sizeof(*s))
		return;
	strings = header(m->file, e->e_shoff + (uint64_t)e->e_shstrndx * sizeof(*s), sizeof(*s));
	if (!strings)
		return;
	names_of = part(m->file, strings->sh_offset, strings->sh_size);
	for (i = 0; i < e->e_shnum; i++) {
		s = header(m->file, e->e_shoff + (uint64_t)i * sizeof(*s), sizeof(*s));
		if (!s)
			return;
		if (s->sh_type == SHT_NOBITS || s->sh_flags & SHF_COMPRESSED)
			continue;
		if (s->sh_type == SHT_SYMTAB || (s->sh_type == SHT_DYNSYM && !found))
			found = s;
		b = bytes_from(names_of, s->sh_name);
		name = get_string(&b);
		b = part(m->file, s->sh_offset, s->sh_size);
		if (!strcmp(name, ".eh_frame")) {
			m->frames = b;
			m->frames_addr = s->sh_addr;
		} else if (!strcmp(name, ".debug_line")) {
			m->lines = b;
		} else if (!strcmp(name, ".debug_line_str")) {
			m->line_strings = b;
		} else if (!strcmp(name, ".debug_str")) {
			m->debug_strings = b;
		}
	}
	if (!found)
		return;
	s = header(m->file, e->e_shoff + (uint64_t)found->sh_link * sizeof(*s), sizeof(*s));
	if (!s)
		return;
	m->symbols = part(m->file, found->sh_offset, found->sh_size);
	m->strings = part(m->file, s->sh_offset, s->sh_size);
}

/* What the mapping of @m is in terms of its file. */
static bool read_segments(struct module *m)
{
	const Elf64_Ehdr *e = header(m->file, 0, sizeof(*e));
	const Elf64_Phdr *p;
	bool found = false;
	unsigned int i;

	if (!e || memcmp(e->e_ident, ELFMAG, SELFMAG) || e->e_ident[EI_CLASS] != ELFCLASS64 ||
	    e->e_phentsize != sizeof(*p))
		return false;
	for (i = 0; (p = segment(m, i)); i++) {
		if (p->p_type == PT_LOAD && p->p_flags & PF_X && m->offset >= (p->p_offset & ~4095ul) &&
		    m->offset < p->p_offset + p->p_filesz) {
			m->bias = m->start - m->offset + p->p_offset - p->p_vaddr;
			found = true;
		} else if (p->p_type == PT_GNU_EH_FRAME) {
			m->index = part(m->file, p->p_offset, p->p_filesz);
			m->index_addr = p->p_vaddr;
		}
	}
	return found;
}

static bool map_file(struct module *m, const char *path)
{
	struct stat st;
	void *p;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return false;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size <= 0) {
		close(fd);
		return false;
	}
	p = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return false;
	m->file.p = p;
	m->file.end = m->file.p + st.st_size;
	return true;
}

static const char *keep_name(const char *path)
{
	const char *base = strrchr(path, '/');
	size_t size;
	char *name;

	base = base ? base + 1 : path;
	size = strlen(base) + 1;
	if (size > sizeof(names) - names_used)
		return "?";
	name = memcpy(names + names_used, base, size);
	names_used += size;
	return name;
}

static void add_module(const struct module *found, char *path)
{
	static const char deleted[] = " (deleted)";
	size_t length = strlen(path);
	struct module *m;
	unsigned int i;
	bool gone;

	for (i = 0; i < nmodules; i++) {
		m = &modules[i];
		if (m->start == found->start && m->end == found->end && m->offset == found->offset &&
		    m->inode == found->inode && m->device == found->device)
			return;
	}
	if (nmodules == MODULES)
		return;
	m = &modules[nmodules];
	*m = *found;
	if (!strcmp(path, "[vdso]")) {
		m->file.p = (const void *)m->start;
		m->file.end = (const void *)m->end;
	} else {
		/* The program's own file is there even when its name is not. */
		gone = length > sizeof(deleted) && !strcmp(path + length - sizeof(deleted) + 1, deleted);
		if (gone)
			path[length - sizeof(deleted) + 1] = 0;
		if (gone || !map_file(m, path)) {
			char exe[PATH];
			ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

			exe[n < 0 ? 0 : n] = 0;
			if (strncmp(exe, path, strlen(path)) || !map_file(m, "/proc/self/exe"))
				return;
		}
	}
	if (!read_segments(m)) {
		if (*path != '[')
			munmap((void *)m->file.p, m->file.end - m->file.p);
		return;
	}
	read_sections(m);
	m->name = keep_name(path);
	nmodules++;
}

static uint64_t hex(const char **s)
{
	uint64_t v = 0;

	for (;; (*s)++) {
		if (**s >= '0' && **s <= '9')
			v = v << 4 | (**s - '0');
		else if (**s >= 'a' && **s <= 'f')
			v = v << 4 | (**s - 'a' + 10);
		else
			return v;
	}
}

/* start-end rwxp offset major:minor inode   path */
static void maps_line(char *line)
{
	const char *s = line;
	struct module m = {};

	m.start = hex(&s);
	s += *s == '-';
	m.end = hex(&s);
	if (*s != ' ' || strnlen(s, 6) < 6 || s[3] != 'x')
		return;
	s += 6;
	m.offset = hex(&s);
	s += *s == ' ';
	m.device = hex(&s) << 32;
	s += *s == ':';
	m.device |= hex(&s);
	s += *s == ' ';
	m.inode = hex(&s);		/* decimal, but as good for a comparison */
	while (*s == ' ')
		s++;
	if (*s == '/' || !strcmp(s, "[vdso]"))
		add_module(&m, line + (s - line));
}

/* What is mapped now. A million stacks make a long file, so it is read in pieces. */
void modules_load(void)
{
	static char buf[4096 + PATH];
	size_t have = 0;
	char *line, *end;
	ssize_t n;
	int fd;

	memset(cache, 0, sizeof(cache));
	fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	while ((n = read(fd, buf + have, sizeof(buf) - 1 - have)) > 0) {
		have += n;
		buf[have] = 0;
		for (line = buf; (end = strchr(line, '\n')); line = end + 1) {
			*end = 0;
			maps_line(line);
		}
		have -= line - buf;
		memmove(buf, line, have);
		if (have == sizeof(buf) - 1)
			have = 0;
	}
	close(fd);
}

/* The last that was loaded there: an older one may have been unloaded. */
const struct module *module_of(uintptr_t pc)
{
	unsigned int i;

	for (i = nmodules; i--;)
		if (pc >= modules[i].start && pc < modules[i].end)
			return &modules[i];
	return NULL;
}

/* ---- lines: DWARF 2 to 5 ----------------------------------------------------------------------------------------- */

#define FORMATS 8

struct format {
	uint64_t content, form;
};

struct unit {
	const struct module *m;
	unsigned int version, offset_size;
	uint8_t min_length, opcode_base, line_range;
	int8_t line_base;
	struct bytes lengths;		/* of the standard opcodes' operands */
	struct bytes files;		/* the table, behind its formats */
	struct format formats[FORMATS];
	unsigned int nformats;
	uint64_t nfiles;
};

static const char *form_value(struct unit *u, struct bytes *b, uint64_t form)
{
	struct bytes s;

	switch (form) {
	case 0x08:	/* string */
		return get_string(b);
	case 0x1f:	/* line_strp */
		s = bytes_from(u->m->line_strings, get(b, u->offset_size));
		return get_string(&s);
	case 0x0e:	/* strp */
		s = bytes_from(u->m->debug_strings, get(b, u->offset_size));
		return get_string(&s);
	case 0x0b:	/* data1, 2, 4, 8, 16 */
		get(b, 1);
		break;
	case 0x05:
		get(b, 2);
		break;
	case 0x06:
		get(b, 4);
		break;
	case 0x07:
		get(b, 8);
		break;
	case 0x1e:
		get_bytes(b, 16);
		break;
	case 0x0f:	/* udata */
		get_uleb(b);
		break;
	case 0x09:	/* block */
		get_bytes(b, get_uleb(b));
		break;
	default:
		b->p = b->end;
		break;
	}
	return NULL;
}

static unsigned int read_formats(struct bytes *b, struct format *formats)
{
	unsigned int i, n = get(b, 1);

	if (n > FORMATS) {
		b->p = b->end;
		return 0;
	}
	for (i = 0; i < n; i++) {
		formats[i].content = get_uleb(b);
		formats[i].form = get_uleb(b);
	}
	return n;
}

static const char *file_name(struct unit *u, uint64_t number)
{
	struct bytes b = u->files;
	const char *name, *v;
	unsigned int f;
	uint64_t i;

	if (u->version < 5) {
		for (i = 1; b.p < b.end; i++) {
			name = get_string(&b);
			if (!*name)
				return NULL;
			if (i == number)
				return name;
			get_uleb(&b);
			get_uleb(&b);
			get_uleb(&b);
		}
		return NULL;
	}
	/* Without a format a name takes no room, and there would be as many as the file says. */
	for (i = 0; u->nformats && i < u->nfiles && b.p < b.end; i++) {
		name = NULL;
		for (f = 0; f < u->nformats; f++) {
			v = form_value(u, &b, u->formats[f].form);
			if (u->formats[f].content == 1)
				name = v;
		}
		if (i == number)
			return name;
	}
	return NULL;
}

static bool read_unit(struct unit *u, struct bytes *b)
{
	struct format dirs[FORMATS];
	unsigned int n, f;
	struct bytes h;
	uint64_t i;

	u->version = get(b, 2);
	if (u->version < 2 || u->version > 5)
		return false;
	if (u->version >= 5)
		get(b, 2);		/* sizes of an address and of a selector */
	h = get_bytes(b, get(b, u->offset_size));
	u->min_length = get(&h, 1);
	if (u->version >= 4)
		get(&h, 1);
	get(&h, 1);
	u->line_base = get(&h, 1);
	u->line_range = get(&h, 1);
	u->opcode_base = get(&h, 1);
	if (!u->line_range || !u->opcode_base)
		return false;
	u->lengths = get_bytes(&h, u->opcode_base - 1);
	if (u->version < 5) {
		while (*get_string(&h))
			;
	} else {
		n = read_formats(&h, dirs);
		for (i = get_uleb(&h); n && i && h.p < h.end; i--)
			for (f = 0; f < n; f++)
				form_value(u, &h, dirs[f].form);
		u->nformats = read_formats(&h, u->formats);
		u->nfiles = get_uleb(&h);
	}
	u->files = h;
	return true;
}

/* Runs one unit's program, up to the row that covers @pc. */
static bool find_line(struct unit *u, struct bytes b, uintptr_t pc, uint64_t *file, unsigned int *line)
{
	uintptr_t addr = 0, before = 0;
	uint64_t f = 1, f_before = 0;
	uint64_t l = 1, l_before = 0;		/* unsigned: it may wrap */
	bool open = false, row;
	struct bytes ext;
	uint8_t op;
	int n;

	while (b.p < b.end) {
		op = get(&b, 1);
		row = false;
		if (op >= u->opcode_base) {
			op -= u->opcode_base;
			addr += op / u->line_range * u->min_length;
			l += u->line_base + op % u->line_range;
			row = true;
		} else {
			switch (op) {
			case 0:
				ext = get_bytes(&b, get_uleb(&b));
				op = get(&ext, 1);
				if (op == 2) {		/* set_address */
					addr = get(&ext, 8);
				} else if (op == 1) {	/* end_sequence */
					if (open && pc >= before && pc < addr)
						goto found;
					open = false;
					addr = 0;
					f = l = 1;
				}
				break;
			case 1:
				row = true;
				break;
			case 2:
				addr += get_uleb(&b) * u->min_length;
				break;
			case 3:
				l += get_sleb(&b);
				break;
			case 4:
				f = get_uleb(&b);
				break;
			case 8:
				addr += (255 - u->opcode_base) / u->line_range * u->min_length;
				break;
			case 9:
				addr += get(&b, 2);
				break;
			default:
				n = u->lengths.p + op - 1 < u->lengths.end ? u->lengths.p[op - 1] : 0;
				while (n--)
					get_uleb(&b);
				break;
			}
		}
		if (!row)
			continue;
		/* Code that the linker dropped begins at 0. */
		if (open && before && pc >= before && pc < addr)
			goto found;
		open = true;
		before = addr;
		f_before = f;
		l_before = l;
	}
	return false;
found:
	*file = f_before;
	*line = l_before;
	return true;
}

static void line_of(const struct module *m, uintptr_t pc, struct place *place)
{
	struct bytes b = m->lines, program;
	unsigned int line;
	uint64_t length, file;
	const char *name, *base;

	if (b.end - b.p > LINES_MAX)
		return;
	while (b.p < b.end) {
		struct unit u = { .m = m, .offset_size = 4 };

		length = get(&b, 4);
		if (length == 0xffffffff) {
			u.offset_size = 8;
			length = get(&b, 8);
		}
		program = get_bytes(&b, length);
		if (!read_unit(&u, &program) || !find_line(&u, program, pc, &file, &line))
			continue;
		name = file_name(&u, file);
		if (!name || !line)
			return;
		base = strrchr(name, '/');
		place->file = base ? base + 1 : name;
		place->line = line;
		return;
	}
}

/* ---- functions --------------------------------------------------------------------------------------------------- */

static void function_of(const struct module *m, uintptr_t pc, struct place *place)
{
	const Elf64_Sym *s = (const void *)m->symbols.p, *end, *found = NULL;
	struct bytes name;

	if ((uintptr_t)s & 7)
		return;
	end = s + (m->symbols.end - m->symbols.p) / sizeof(*s);
	for (; s < end; s++) {
		if ((ELF64_ST_TYPE(s->st_info) != STT_FUNC && ELF64_ST_TYPE(s->st_info) != STT_GNU_IFUNC) ||
		    pc < s->st_value || pc - s->st_value >= s->st_size)
			continue;
		/* Of several names the innermost, and of those the one that everybody knows. */
		if (!found || s->st_value > found->st_value ||
		    (s->st_value == found->st_value && ELF64_ST_BIND(s->st_info) == STB_GLOBAL &&
		     ELF64_ST_BIND(found->st_info) != STB_GLOBAL))
			found = s;
	}
	if (!found)
		return;
	name = bytes_from(m->strings, found->st_name);
	place->function = get_string(&name);
	place->offset = pc - found->st_value;
}

void place_of(uintptr_t pc, struct place *place)
{
	unsigned int i = (pc ^ pc >> 9) % CACHE;
	const struct module *m;

	if (cache[i].pc == pc) {
		*place = cache[i].place;
		return;
	}
	*place = (struct place){};
	m = module_of(pc);
	if (m) {
		place->module = m->name;
		place->offset = pc - m->bias;
		function_of(m, pc - m->bias, place);
		line_of(m, pc - m->bias, place);
	}
	cache[i].pc = pc;
	cache[i].place = *place;
}
