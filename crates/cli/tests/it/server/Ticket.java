// A client of the server that has a ticket of Kerberos and no password: java -cp DRIVER Ticket.java URL USER
import java.sql.*;
import java.util.Properties;

public class Ticket {
    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        properties.setProperty("user", args[1]);
        properties.setProperty("options", "-c cordon.purpose=research");
        try (Connection connection = DriverManager.getConnection(args[0], properties);
                Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("SELECT count(*) FROM visits")) {
            rows.next();
            System.out.println("rows " + rows.getLong(1));
        }
    }
}
