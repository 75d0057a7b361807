/* A PKCS#11 module in front of another one (REAL), whose token goes away while the file `pulled` is beside it, and which fails at
 * the call that the file `refuse` names (at one call, where it is `refuse-once`), and never comes back from the one that the
 * file `hang` names.
 *
 * Every entry of CK_FUNCTION_LIST is forwarded with eight words, which is as many as any of them takes: where it takes
 * fewer, the callee does not look at the rest (System V calling convention). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long W;
typedef W (*F)(W, W, W, W, W, W, W, W);
enum { GET_LIST = 3, SLOT_LIST = 4, TOKEN_INFO = 6, OPEN_SESSION = 12, CLOSE_ALL = 14, LOGIN = 18, FUNCTIONS = 68 };
enum { OK = 0, GENERAL_ERROR = 5, FUNCTION_FAILED = 6, DEVICE_REMOVED = 0x32, TOKEN_NOT_PRESENT = 0xE0 };
struct list { unsigned char version[2]; F entry[FUNCTIONS]; };

static struct list mine;
static const struct list *real;
static char folder[4096];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static W slots[64];
static unsigned slot_count;
static int was_pulled;

static void beside(char *path, size_t size, const char *name) { snprintf(path, size, "%.3900s/%s", folder, name); }

static void count(const char *what) {
    char path[4096];
    beside(path, sizeof path, what);
    int file = open(path, O_CREAT | O_WRONLY | O_APPEND, 0600);
    if (file < 0 || write(file, "1", 1) != 1) abort();
    close(file);
}

/* Whether the file names this call. */
static int names(const char *what, int call) {
    char path[4096], text[16] = "";
    beside(path, sizeof path, what);
    int file = open(path, O_RDONLY);
    if (file < 0) return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    return length > 0 && atoi(text) == call;
}

static int is_pulled(int call) {
    char pulled[4096], at[4096];
    beside(pulled, sizeof pulled, "pulled");
    beside(at, sizeof at, "pull-at");
    if (names("pull-at", call) && unlink(at) == 0) close(open(pulled, O_CREAT | O_WRONLY, 0600));
    int gone = access(pulled, F_OK) == 0;
    if (gone && !was_pulled)
        for (unsigned n = 0; n < slot_count; n++) real->entry[CLOSE_ALL](slots[n], 0, 0, 0, 0, 0, 0, 0);
    return was_pulled = gone;
}

static int is_refused_once(int call) {
    char once[4096];
    beside(once, sizeof once, "refuse-once");
    return names("refuse-once", call) && unlink(once) == 0;
}

static W call(int n, W a, W b, W c, W d, W e, W f, W g, W h) {
    pthread_mutex_lock(&lock);
    int gone = n > GET_LIST && is_pulled(n);
    if (!gone && n == OPEN_SESSION) {
        unsigned known = 0;
        while (known < slot_count && slots[known] != a) known++;
        if (known == slot_count && slot_count < 64) slots[slot_count++] = a;
    }
    if (gone) count("missed");
    else if (n == LOGIN) count("logins");
    int hangs = n > GET_LIST && names("hang", n);
    int refused = !gone && n > GET_LIST && (names("refuse", n) || is_refused_once(n));
    pthread_mutex_unlock(&lock);
    if (hangs) for (;;) pause();
    if (refused) return FUNCTION_FAILED;
    if (!gone) return real->entry[n](a, b, c, d, e, f, g, h);
    if (n == SLOT_LIST) { *(W *)c = 0; return OK; }
    return n == TOKEN_INFO ? TOKEN_NOT_PRESENT : DEVICE_REMOVED;
}

#define ENTRY(n) static W f##n(W a, W b, W c, W d, W e, W f, W g, W h) { return call(n, a, b, c, d, e, f, g, h); }
#define TEN(X, t) X(t##0) X(t##1) X(t##2) X(t##3) X(t##4) X(t##5) X(t##6) X(t##7) X(t##8) X(t##9)
#define ALL(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) TEN(X, 1) TEN(X, 2) TEN(X, 3) TEN(X, 4) TEN(X, 5) \
    X(60) X(61) X(62) X(63) X(64) X(65) X(66) X(67)
ALL(ENTRY)
#define NAME(n) f##n,
static const F entries[FUNCTIONS] = { ALL(NAME) };

W C_GetFunctionList(void **answer) {
    Dl_info self;
    if (dladdr((void *)entries[0], &self) == 0) return GENERAL_ERROR;
    snprintf(folder, sizeof folder, "%s", self.dli_fname);
    char *slash = strrchr(folder, '/');
    if (slash) *slash = 0;
    void *library = dlopen(REAL, RTLD_NOW | RTLD_LOCAL);
    W (*get)(void **) = library ? (W (*)(void **))dlsym(library, "C_GetFunctionList") : NULL;
    if (!get || get((void **)&real) != OK) return GENERAL_ERROR;
    memcpy(mine.version, real->version, sizeof mine.version);
    memcpy(mine.entry, entries, sizeof entries);
    *answer = &mine;
    return OK;
}
