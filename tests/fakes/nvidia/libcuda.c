/* A stand-in for the driver's library: its graph functions, as cuda.h declares them, told to a Python double. */
#include <stddef.h>

typedef int (*begin_capture_t)(size_t stream, int mode);
typedef int (*end_capture_t)(size_t stream, size_t *graph);
typedef int (*instantiate_t)(size_t *executable, size_t graph, unsigned long long flags);
typedef int (*launch_t)(size_t executable, size_t stream);
typedef int (*destroy_t)(size_t it);

static struct {
    begin_capture_t begin_capture;
    end_capture_t end_capture;
    instantiate_t instantiate;
    launch_t launch;
    destroy_t destroy_executable, destroy_graph;
} doubles;

void double_register(begin_capture_t begin_capture, end_capture_t end_capture, instantiate_t instantiate,
                     launch_t launch, destroy_t destroy_executable, destroy_t destroy_graph)
{
    doubles.begin_capture = begin_capture;
    doubles.end_capture = end_capture;
    doubles.instantiate = instantiate;
    doubles.launch = launch;
    doubles.destroy_executable = destroy_executable;
    doubles.destroy_graph = destroy_graph;
}

int cuStreamBeginCapture_v2(size_t stream, int mode) { return doubles.begin_capture(stream, mode); }
int cuStreamEndCapture(size_t stream, size_t *graph) { return doubles.end_capture(stream, graph); }
int cuGraphInstantiateWithFlags(size_t *executable, size_t graph, unsigned long long flags)
{
    return doubles.instantiate(executable, graph, flags);
}
int cuGraphLaunch(size_t executable, size_t stream) { return doubles.launch(executable, stream); }
int cuGraphExecDestroy(size_t executable) { return doubles.destroy_executable(executable); }
int cuGraphDestroy(size_t graph) { return doubles.destroy_graph(graph); }
int cuGetErrorString(int error, const char **text)
{
    *text = error == 719 ? "unspecified launch failure" : NULL;
    return *text == NULL;
}
