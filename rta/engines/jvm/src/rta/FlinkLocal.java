package rta;

import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.GlobalConfiguration;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.core.fs.FileSystem;
import org.apache.flink.core.plugin.PluginUtils;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.runtime.minicluster.MiniClusterConfiguration;
import org.apache.flink.table.gateway.SqlGateway;

/** One JVM: a MiniCluster of Flink with its REST endpoint, and Flink's SQL gateway that submits to it. SIGTERM ends it. */
public final class FlinkLocal {
    private FlinkLocal() { }

    public static void main(String[] arguments) throws Exception {
        Configuration configuration = GlobalConfiguration.loadConfiguration();  // of FLINK_CONF_DIR, as the gateway's
        FileSystem.initialize(configuration, PluginUtils.createPluginManagerFromRootFolder(configuration));
        MiniCluster cluster = new MiniCluster(new MiniClusterConfiguration.Builder().setConfiguration(configuration)
            .setNumTaskManagers(1).setNumSlotsPerTaskManager(configuration.get(TaskManagerOptions.NUM_TASK_SLOTS)).build());
        cluster.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(cluster)));
        System.out.println("{\"rest\":\"" + cluster.getRestAddress().get() + "\"}");
        SqlGateway.main(arguments);  // returns when it ends
    }

    private static void close(MiniCluster cluster) {
        try {
            cluster.close();
        } catch (Exception e) {
            e.printStackTrace();
        }
    }
}
