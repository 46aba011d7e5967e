/* A stand-in for libdlr.so: the C functions that the dlr package calls, for models of one picture at a time.
 *
 * A directory is judged as DLR does it: by the endings of its files, each at most once. The model's own code
 * (compiled.so) computes the mean, compiled.params holds a bias as text. Compiled with -DFAULT=name it fails there.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIDE 16
#define BYTES (SIDE * SIDE * 3)
#define NONE 0
#define RUN 1
#define SIZE 2
#define TYPE 3
#ifndef FAULT
#define FAULT NONE
#endif

typedef struct {
    void *code;
    double (*mean)(const uint8_t *, int64_t);
    double bias;
    uint8_t input[BYTES];
    float score, probabilities[2];
} model_t;

static __thread char last_error[4600];

static int fail(const char *what, const char *which)
{
    snprintf(last_error, sizeof last_error, "%s%s", what, which);
    return -1;
}

static int ends(const char *name, const char *ending)
{
    size_t length = strlen(name), tail = strlen(ending);
    return length >= tail && strcmp(name + length - tail, ending) == 0;
}

static int find(const char *directory, const char *ending, char *found, size_t size)
{
    int count = 0;
    DIR *files = opendir(directory);
    if (files == NULL)
        return fail("no directory: ", directory);
    for (struct dirent *file; (file = readdir(files)) != NULL;)
        if (ends(file->d_name, ending) && strcmp(file->d_name, "libdlr.so") != 0) {
            count++;
            snprintf(found, size, "%s/%s", directory, file->d_name);
        }
    closedir(files);
    if (count > 1)
        return fail("Found multiple files of one kind: ", ending);
    return count == 1 ? 0 : fail("Invalid TVM model artifact. Must have .so, .json, and .params files: ", ending);
}

const char *DLRGetLastError(void) { return last_error; }

int GetDLRVersion(const char **version)
{
    *version = "1.10.0";
    return 0;
}

int CreateDLRModel(void **handle, const char *path, int device_type, int device_id)
{
    char graph[4200], code[4200], params[4200], meta[4200];
    if (device_type != 1 || device_id != 0)
        return fail("Compiled model requires device type \"cpu\"", "");
    if (find(path, ".json", graph, sizeof graph) || find(path, ".so", code, sizeof code)
        || find(path, ".params", params, sizeof params) || find(path, ".meta", meta, sizeof meta))
        return -1;
    model_t *model = calloc(1, sizeof *model);
    model->code = dlopen(code, RTLD_NOW | RTLD_LOCAL);
    FILE *file = fopen(params, "r");
    if (model->code != NULL)
        *(void **)&model->mean = dlsym(model->code, "mean");
    int read = file != NULL && fscanf(file, "bias %lf", &model->bias) == 1;
    if (file != NULL)
        fclose(file);
    if (model->mean == NULL || !read) {
        fail("Invalid TVM model: ", model->mean == NULL ? dlerror() : "params");
        free(model);
        return -1;
    }
    *handle = model;
    return 0;
}

int DeleteDLRModel(void **handle)
{
    model_t *model = *handle;
    dlclose(model->code);
    free(model);
    *handle = NULL;
    return 0;
}

int GetDLRBackend(void **handle, const char **backend)
{
    *backend = *handle == NULL ? "" : "tvm";
    return 0;
}

int GetDLRHasMetadata(void **handle, _Bool *has)
{
    *has = *handle != NULL;
    return 0;
}

int GetDLRNumInputs(void **handle, int *number)
{
    *number = *handle != NULL;
    return 0;
}

int GetDLRNumWeights(void **handle, int *number)
{
    *number = *handle == NULL;
    return 0;
}

int GetDLRWeightName(void **handle, int index, const char **name)
{
    (void)handle, (void)index, (void)name;
    return fail("Weight index is out of range.", "");
}

int GetDLRNumOutputs(void **handle, int *number)
{
    *number = *handle == NULL ? 0 : 2;
    return 0;
}

int GetDLRInputName(void **handle, int index, const char **name)
{
    if (*handle == NULL || index != 0)
        return fail("Input index is out of range.", "");
    *name = "image";
    return 0;
}

int GetDLRInputType(void **handle, int index, const char **type)
{
    if (*handle == NULL || index != 0)
        return fail("Input index is out of range.", "");
    *type = FAULT == TYPE ? "float32" : "uint8";
    return 0;
}

int GetDLROutputName(void **handle, int index, const char **name)
{
    *name = *handle != NULL && index == 0 ? "score" : "probabilities";
    return 0;
}

int GetDLROutputType(void **handle, int index, const char **type)
{
    if (*handle == NULL || index < 0 || index > 1)
        return fail("Output index is out of range.", "");
    *type = "float32";
    return 0;
}

int GetDLROutputSizeDim(void **handle, int index, int64_t *size, int *dimensions)
{
    if (*handle == NULL || index < 0 || index > 1)
        return fail("Output index is out of range.", "");
    *size = FAULT == SIZE ? -1 : index + 1;
    *dimensions = index + 1;
    return 0;
}

int GetDLROutputShape(void **handle, int index, int64_t *shape)
{
    if (*handle == NULL)
        return fail("model is nullptr, create it first", "");
    shape[0] = 1;
    if (index == 1)
        shape[1] = 2;
    return 0;
}

int SetDLRInput(void **handle, const char *name, const int64_t *shape, const void *input, int dimensions)
{
    int64_t size = 1;
    for (int at = 0; at < dimensions; at++)
        size *= shape[at];
    if (strcmp(name, "image") != 0)
        return fail("no such input: ", name);
    if (size != BYTES)
        return fail("Mismatch found in input data size", "");
    memcpy(((model_t *)*handle)->input, input, BYTES);
    return 0;
}

int RunDLRModel(void **handle)
{
    model_t *model = *handle;
    if (FAULT == RUN)
        return fail("TVMError: Check failed: ret == 0 (-1 vs. 0) : the model's own code failed", "");
    /* The first row of a picture does not count, as in the graphs of the other runtimes. */
    double raw = (model->mean(model->input + SIDE * 3, BYTES - SIDE * 3) - 128) / 16 + model->bias;
    model->score = (float)raw;
    model->probabilities[1] = (float)(1 / (1 + exp(-raw)));
    model->probabilities[0] = (float)(1 / (1 + exp(raw)));
    return 0;
}

int GetDLROutput(void **handle, int index, void *output)
{
    model_t *model = *handle;
    const float *values = index == 0 ? &model->score : model->probabilities;
    memcpy(output, values, sizeof(float) * (size_t)(index + 1));
    return 0;
}
