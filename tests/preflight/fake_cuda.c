/* A libcuda.so.1 of a few functions, driven by the same file as fake_nvml.c: cuInit=0, cuCtxCreate=46, cuInit=hang.
 * Also: cuDriverVersion=12060, cuDeviceCount=1. An absent key is success. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int answer(const char *key, int otherwise) {
    char line[256]; size_t n = strlen(key); int found = otherwise;
    FILE *f = getenv("FAKE_NVML") ? fopen(getenv("FAKE_NVML"), "r") : NULL;
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, key, n) && line[n] == '=') {
            if (!strncmp(line + n + 1, "hang", 4)) for (;;) sleep(60);
            if (!strncmp(line + n + 1, "crash", 5)) abort();
            found = atoi(line + n + 1);
        }
    if (f) fclose(f);
    return found;
}

int cuInit(unsigned flags) { return answer("cuInit", 0); }
int cuDriverGetVersion(int *v) { *v = answer("cuDriverVersion", 12060); return answer("cuDriverGetVersion", 0); }
int cuDeviceGetCount(int *n) { *n = answer("cuDeviceCount", 1); return answer("cuDeviceGetCount", 0); }
int cuCtxCreate_v2(void **c, unsigned flags, int d) { *c = (void *)1; return answer("cuCtxCreate", 0); }
int cuCtxDestroy_v2(void *c) { return answer("cuCtxDestroy", 0); }
int cuGetErrorName(int code, const char **s) { static char t[32]; snprintf(t, sizeof t, "CUDA_ERROR_%d", code); *s = t; return 0; }
